"""Watching all runs of a graph, or of the user.

Their events come without those of nodes, so their numbers have holes by nature. What a client missed while it was away:
the rest of the runs that it knows, and the runs that have begun since, which it finds in the platform's list.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection

from agentplat.client.models import Frame, Run, RunEvent
from agentplat.client.patience import Patience
from agentplat.client.socket import frames, refused

_runs = msgspec.json.Decoder(Run)

Listed = Callable[[], Awaitable[list[str]]]


class _Gap(msgspec.Struct, frozen=True):
    graph_exec_id: str
    last_event: int


class RunsWatch:
    """`listed` answers with the ids of the newest runs that belong here. `last_event` has the numbers to go on from."""

    def __init__(self, method: str, target: Mapping[str, Any], last_event: Mapping[str, int], listed: Listed) -> None:
        self.over = False
        self._method = method
        self._target = target
        self._listed = listed
        self._known = dict(last_event)
        self._ended: set[str] = set()
        # Runs that were there before anybody watched: their events count from the first that comes.
        self._older: set[str] | None = None

    async def events(self, socket: ClientConnection, patience: Patience) -> AsyncGenerator[RunEvent, None]:
        await self._subscribe(socket, self._known)
        subscribed = False
        while True:
            arrived = frames(await socket.recv())
            patience.reset()
            for frame in arrived:
                if frame.method == "error":
                    raise refused(frame)
                if frame.method == self._method and not subscribed:
                    subscribed = True
                    await self._look_for_new(socket)
                elif frame.method == "gap":
                    gap = msgspec.json.decode(frame.data, type=_Gap)
                    await self._subscribe(socket, {gap.graph_exec_id: gap.last_event})
                elif frame.method == "graph_execution_event" and (event := await self._taken(socket, frame)):
                    yield event

    async def _subscribe(self, socket: ClientConnection, last_event: Mapping[str, int]) -> None:
        data = {**self._target, "batch": True, "last_event": last_event}
        await socket.send(msgspec.json.encode({"method": self._method, "data": data}), text=True)

    async def _look_for_new(self, socket: ClientConnection) -> None:
        """Those that begin from now on announce themselves by their first event."""
        listed = await self._listed()
        if self._older is None:
            self._older = set(listed) - self._known.keys()
            return
        self._ended.intersection_update(listed)
        new = [run_id for run_id in listed if run_id not in self._older | self._ended | self._known.keys()]
        if new:
            self._known |= dict.fromkeys(new, 0)
            await self._subscribe(socket, dict.fromkeys(new, 0))

    async def _taken(self, socket: ClientConnection, frame: Frame) -> RunEvent | None:
        run = _runs.decode(frame.data)
        seq = frame.seq or 0
        known = self._known.get(run.id)
        if run.id in self._ended or (known is not None and seq <= known):
            return None
        if known is None and seq > 1 and self._older is not None and run.id not in self._older:
            self._known[run.id] = 0
            await self._subscribe(socket, {run.id: 0})
            return None
        self._known[run.id] = seq
        if run.final:
            del self._known[run.id]
            self._ended.add(run.id)
        return RunEvent(seq=seq, run=run, raw=bytes(frame.data))
