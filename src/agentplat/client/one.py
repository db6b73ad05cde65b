"""Watching one run."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection

from agentplat.client.errors import Refused
from agentplat.client.models import Event, Frame, NodeEvent, NodeExecution, Run, RunEvent, Snapshot
from agentplat.client.patience import Patience
from agentplat.client.socket import Hole, frames, refused

SUBSCRIBE = "subscribe_graph_execution"


class _State(msgspec.Struct, frozen=True):
    execution: msgspec.Raw
    nodes: list[NodeExecution]


class _Acknowledged(msgspec.Struct, frozen=True):
    """None where the run's single events are not kept any more."""

    seq: int | None


class _Gap(msgspec.Struct, frozen=True):
    last_event: int


_runs = msgspec.json.Decoder(Run)
_nodes = msgspec.json.Decoder(NodeExecution)
_states = msgspec.json.Decoder(_State)


class RunWatch:
    """What one consumer wants of one run, and how far it has come."""

    def __init__(
        self, run_id: str, last_event: int, *, snapshot: bool, nodes: Sequence[str] | None, node_events: bool
    ) -> None:
        self._run_id = run_id
        self.over = False
        self._begin = self._position = last_event
        self._snapshot = snapshot
        self._filter: dict[str, Any] = {}
        if nodes is not None:
            self._filter["nodes"] = list(nodes)
        if not node_events:
            self._filter["events"] = ["graph_execution_event"]
        # The last one that the consumer knows is asked for too: it may be the run's final one, after which none comes.
        self._known = 1 if last_event else 0

    def _request(self) -> bytes:
        wanted = {"snapshot": True} if self._snapshot else {"last_event": self._position - self._known}
        data = {"graph_exec_id": self._run_id, "batch": True, **wanted}
        if self._filter:
            data["filter"] = self._filter
        return msgspec.json.encode({"method": SUBSCRIBE, "data": data})

    async def events(self, socket: ClientConnection, patience: Patience) -> AsyncGenerator[Event, None]:
        await socket.send(self._request(), text=True)
        while True:
            arrived = frames(await socket.recv())
            patience.reset()
            for frame in arrived:
                if frame.method == "gap":
                    self._position = msgspec.json.decode(frame.data, type=_Gap).last_event
                    await socket.send(self._request(), text=True)
                elif (event := self._taken(frame)) is not None:
                    self.over = event.final
                    if event.seq > self._begin or isinstance(event, Snapshot):
                        yield event
                    if self.over:
                        return

    def _taken(self, frame: Frame) -> Event | None:
        if frame.method == "error":
            raise refused(frame)
        if frame.method == SUBSCRIBE:
            acknowledged = msgspec.json.decode(frame.data, type=_Acknowledged).seq
            if self._known and (acknowledged or 0) < self._position:
                raise Refused(400, f"last_event: the run has no event {self._position} yet, only {acknowledged}")
            return None
        if frame.method == "snapshot":
            self._snapshot = False
            self._position = frame.seq or 0
            state = _states.decode(frame.data)
            run = _runs.decode(state.execution)
            return Snapshot(seq=self._position, run=run, nodes=state.nodes, raw=bytes(frame.data))
        return None if frame.seq is None else self._event(frame, frame.seq)

    def _event(self, frame: Frame, seq: int) -> Event | None:
        if not self._filter and seq > self._position + 1:
            raise Hole(f"Event {seq} came after {self._position}")
        event = _event(frame, seq)
        if seq <= self._position:
            return event if event is not None and event.final else None
        self._position = seq
        self._known = 0
        return event


def _event(frame: Frame, seq: int) -> Event | None:
    if frame.method == "graph_execution_event":
        return RunEvent(seq=seq, run=_runs.decode(frame.data), raw=bytes(frame.data))
    if frame.method == "node_execution_event":
        return NodeEvent(seq=seq, node=_nodes.decode(frame.data), raw=bytes(frame.data))
    return None
