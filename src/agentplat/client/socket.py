"""Watching one run over the event socket."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from agentplat.client.errors import ConnectionLost, Refused
from agentplat.client.models import Event, Frame, NodeEvent, NodeExecution, Run, RunEvent, Snapshot
from agentplat.client.patience import Patience, unreachable

SUBSCRIBE = "subscribe_graph_execution"
# The close codes of a token that is no good.
TOKEN_REFUSED = range(4001, 4004)
# Frames that may wait here for a slow consumer. Then the platform's own queue fills, and it says where to resume.
MAX_QUEUE = 1024


class _State(msgspec.Struct, frozen=True):
    execution: msgspec.Raw
    nodes: list[NodeExecution]


class _Acknowledged(msgspec.Struct, frozen=True):
    seq: int


class _Gap(msgspec.Struct, frozen=True):
    last_event: int


_frames = msgspec.json.Decoder(Frame | list[Frame])
_runs = msgspec.json.Decoder(Run)
_nodes = msgspec.json.Decoder(NodeExecution)
_states = msgspec.json.Decoder(_State)


class _Hole(Exception):
    """An event is missing before this one: it has to be asked for again."""


class EventSocket:
    """Connects as often as it has to. `proxied`: whether a proxy of the environment applies."""

    def __init__(self, url: str, token: str, proxied: bool, patience: float) -> None:
        parts = urlsplit(url)
        scheme = {"https": "wss", "http": "ws"}.get(parts.scheme, parts.scheme)
        self._url = url
        self._address = urlunsplit((scheme, parts.netloc, f"{parts.path}/ws", "", ""))
        self._token = token
        self._proxied = proxied
        self._patience = Patience(patience)

    async def watch(
        self, run_id: str, last_event: int, *, snapshot: bool, nodes: Sequence[str] | None, node_events: bool
    ) -> AsyncGenerator[Event, None]:
        watch = _Watch(run_id, last_event, snapshot=snapshot, nodes=nodes, node_events=node_events)
        while True:
            try:
                async with self._connect() as socket, aclosing(watch.events(socket, self._patience)) as events:
                    async for event in events:
                        if snapshot or event.seq > last_event:
                            yield event
                        if event.final:
                            return
                failure = ConnectionLost(f"{self._url} closed the event socket")
            except (OSError, WebSocketException, msgspec.DecodeError, _Hole) as error:
                if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code in TOKEN_REFUSED:
                    raise Refused(401, f"Invalid token: {error.rcvd.reason}", "unauthenticated") from error
                failure = _explained(self._url, error)
            await self._patience.after(failure)

    def _connect(self) -> connect:
        return connect(
            self._address,
            # Not in the URL, where logs would keep it.
            subprotocols=[Subprotocol("agentplat"), Subprotocol(f"bearer.{self._token}")],
            max_size=None,  # an event carries all of a run's outputs, so it may be of any size
            max_queue=MAX_QUEUE,
            compression=None,
            proxy=True if self._proxied else None,
        )


def _explained(url: str, error: Exception) -> ConnectionLost:
    if isinstance(error, InvalidHandshake | msgspec.DecodeError):
        return ConnectionLost(f"The event socket of {url} can't be used: {error}")
    return unreachable(url, error)


class _Watch:
    """What one consumer wants of one run, and how far it has come."""

    def __init__(
        self, run_id: str, last_event: int, *, snapshot: bool, nodes: Sequence[str] | None, node_events: bool
    ) -> None:
        self._run_id = run_id
        self._position = last_event
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
        """Until the connection ends. A final event that is known already is told once more, so that the stream ends."""
        await socket.send(self._request(), text=True)
        while True:
            frames = _frames.decode(await socket.recv())
            patience.reset()
            for frame in frames if isinstance(frames, list) else (frames,):
                if frame.method == "gap":
                    self._position = msgspec.json.decode(frame.data, type=_Gap).last_event
                    await socket.send(self._request(), text=True)
                elif (event := self._taken(frame)) is not None:
                    yield event

    def _taken(self, frame: Frame) -> Event | None:
        if frame.method == "error":
            missing = "no such" in (frame.error or "").lower()
            raise Refused(404 if missing else 400, str(frame.error), "not_found" if missing else "refused")
        if frame.method == SUBSCRIBE:
            acknowledged = msgspec.json.decode(frame.data, type=_Acknowledged).seq
            if self._known and acknowledged < self._position:
                raise Refused(400, f"last_event: the run has no event {self._position} yet, only {acknowledged}")
            return None
        if frame.seq is None:
            return None
        if frame.method == "snapshot":
            self._snapshot = False
            self._position = frame.seq
            state = _states.decode(frame.data)
            return Snapshot(seq=frame.seq, run=_runs.decode(state.execution), nodes=state.nodes, raw=bytes(frame.data))
        return self._event(frame, frame.seq)

    def _event(self, frame: Frame, seq: int) -> Event | None:
        if not self._filter and seq > self._position + 1:
            raise _Hole(f"Event {seq} came after {self._position}")
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
