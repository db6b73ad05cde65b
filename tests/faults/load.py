"""A steady stream of runs, sent by clients that don't give up: what a client was told must be true whatever breaks."""

import asyncio
import random
from typing import Any
from uuid import uuid4

import httpx
from msgspec import Struct

from tests.faults.graphs import Shape

# Of how many runs one is stopped by its user.
STOPPED_ONE_IN = 12
ATTEMPT_SECONDS = 4.0
AGAIN_SECONDS = 0.2


class Accepted(Struct, frozen=True):
    """What a client knows of its run."""

    id: str
    shape: Shape
    stopped: bool


class Load:
    """Starts `rate` runs a second until told to end; every one of them is accepted in the end."""

    def __init__(self, url: str, token: str, shapes: list[Shape], rate: float, chance: random.Random) -> None:
        self.accepted: list[Accepted] = []
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=ATTEMPT_SECONDS
        )
        self._shapes = shapes
        self._graphs: dict[str, dict[str, Any]] = {}
        self._rate = rate
        self._chance = chance
        self._ending = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Load":
        for shape in self._shapes:
            response = await self._ask("/api/graphs", {"graph": shape.drawing.as_graph(shape.name)})
            self._graphs[shape.name] = response.json()
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._http.aclose()

    async def run(self) -> None:
        """Until `end` was called and all clients have their answer."""
        while not self._ending.is_set():
            client = asyncio.create_task(self._client(self._chance.choice(self._shapes)))
            self._clients.add(client)
            client.add_done_callback(self._clients.discard)
            await asyncio.sleep(self._chance.expovariate(self._rate))
        await asyncio.gather(*self._clients)

    def end(self) -> None:
        self._ending.set()

    async def _client(self, shape: Shape) -> None:
        graph = self._graphs[shape.name]
        response = await self._ask(f"/api/graphs/{graph['id']}/execute/{graph['version']}", {}, str(uuid4()))
        run = Accepted(response.json()["id"], shape, stopped=self._chance.randrange(STOPPED_ONE_IN) == 0)
        self.accepted.append(run)
        if run.stopped:
            await asyncio.sleep(self._chance.random())
            await self._ask(f"/api/graphs/{graph['id']}/executions/{run.id}/stop", None)

    async def _ask(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        """Asks until there is an answer. A refusal is a defect of the test or of the platform, hence an error."""
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            try:
                response = await self._http.post(path, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if response.status_code < 500:
                assert response.is_success, response.text
                return response
            await asyncio.sleep(AGAIN_SECONDS)
