"""People who answer what runs ask them, through the API: now and then two at once, and some only much later."""

import asyncio
import random
from typing import Any

from msgspec import Struct

from tests.faults.clients import Clients

LOOK_SECONDS = 0.3
# Of how many reviews one is left until everything else is over, one is decided by two people at once, one is edited.
HELD_ONE_IN, TWICE_ONE_IN, EDITED_ONE_IN = 8, 5, 4
REFUSED, CONFLICT = 400, 409


class Decision(Struct, frozen=True):
    """What a reviewer was told is decided. `key` is the id of the node execution."""

    key: str
    approved: bool


class Reviewers:
    """Use as `async with Reviewers(…) as reviewers`: they begin at once, and go on until the block is left."""

    def __init__(self, clients: Clients, token: str, chance: random.Random) -> None:
        self.decided: list[Decision] = []
        self.held: set[str] = set()
        self._clients = clients
        self._token = token
        self._chance = chance
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Reviewers":
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        assert self._looking is not None
        self._looking.cancel()
        failed = [one for one in await self._ended() if isinstance(one, Exception)]
        if failed and kind is None:
            raise failed[0]

    async def _ended(self) -> list[Any]:
        assert self._looking is not None
        return await asyncio.gather(self._looking, *self._tasks, return_exceptions=True)

    def answer_rest(self) -> None:
        """Have everybody answer what they have left until now."""
        for key in sorted(self.held):
            self._decide(key, {})
        self.held.clear()

    async def _look(self) -> None:
        while True:
            found = await self._clients.look(self._token, "/api/review/pending?page_size=100") or []
            for review in found:
                if review["node_exec_id"] in self._seen:
                    continue
                self._seen.add(review["node_exec_id"])
                if self._chance.randrange(HELD_ONE_IN) == 0:
                    self.held.add(review["node_exec_id"])
                else:
                    edited = self._chance.randrange(EDITED_ONE_IN) == 0
                    self._decide(review["node_exec_id"], {"reviewed_data": "edited"} if edited else {})
            await asyncio.sleep(LOOK_SECONDS)

    def _decide(self, key: str, more: dict[str, Any]) -> None:
        for _ in range(2 if self._chance.randrange(TWICE_ONE_IN) == 0 else 1):
            approved = self._chance.random() < 0.6
            self._tasks.add(asyncio.create_task(self._answer(Decision(key, approved), more)))

    async def _answer(self, decision: Decision, more: dict[str, Any]) -> None:
        """Another reviewer may have decided otherwise, or the run may be over: then this decision is refused."""
        item = {"node_exec_id": decision.key, "approved": decision.approved, **more}
        body = {"reviews": [item]}
        answer = await self._clients.ask(self._token, "/api/review/action", body, refusals=(REFUSED, CONFLICT))
        if answer.is_success:
            self.decided.append(decision)
