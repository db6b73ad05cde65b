"""A steady stream of runs, sent by clients that don't give up: what a client was told must be true whatever breaks."""

import asyncio
import random
from typing import Any
from uuid import uuid4

from msgspec import Struct

from tests.faults.clients import Clients
from tests.faults.graphs import Shape

# Of how many runs one is stopped by its user.
STOPPED_ONE_IN = 12


class Accepted(Struct, frozen=True):
    """What a client knows of its run."""

    id: str
    shape: Shape
    stopped: bool


class Load:
    """Starts `rate` runs a second until told to end; every one of them is accepted in the end.

    `rich` is the token of the user whose runs these are, `poor` are those of users with a purse each: when none is
    left, no more of their runs are started.
    """

    def __init__(
        self, clients: Clients, rich: str, poor: list[str], shapes: list[Shape], rate: float, chance: random.Random
    ) -> None:
        self.accepted: list[Accepted] = []
        self._clients = clients
        self._rich = rich
        self._poor = poor
        self._shapes = shapes
        self._graphs: dict[str, dict[str, Any]] = {}
        self._rate = rate
        self._chance = chance
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Load":
        for shape in self._shapes:
            if not shape.poor:
                self._graphs[shape.name] = await self._create(shape, self._rich)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(self) -> None:
        """Until `end` was called and all clients have their answer."""
        while not self._ending.is_set():
            shape = self._chance.choice([one for one in self._shapes if not one.below and (self._poor or not one.poor)])
            task = asyncio.create_task(self._client(shape))
            self._tasks.add(task)
            await asyncio.sleep(self._chance.expovariate(self._rate))
            for done in [one for one in self._tasks if one.done()]:
                done.result()
                self._tasks.discard(done)
        await asyncio.gather(*self._tasks)

    def end(self) -> None:
        self._ending.set()

    async def _create(self, shape: Shape, token: str) -> dict[str, Any]:
        graph = await self._clients.ask(token, "/api/graphs", {"graph": shape.as_graph(self._graphs)})
        stored: dict[str, Any] = graph.json()
        return stored

    async def _client(self, shape: Shape) -> None:
        token = self._poor.pop() if shape.poor else self._rich
        graph = await self._create(shape, token) if shape.poor else self._graphs[shape.name]
        path = f"/api/graphs/{graph['id']}/execute/{graph['version']}"
        response = await self._clients.ask(token, path, {}, str(uuid4()))
        run = Accepted(response.json()["id"], shape, stopped=self._chance.randrange(STOPPED_ONE_IN) == 0)
        self.accepted.append(run)
        if run.stopped:
            await asyncio.sleep(self._chance.random())
            await self._clients.ask(token, f"/api/graphs/{graph['id']}/executions/{run.id}/stop", None)
