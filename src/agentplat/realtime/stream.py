"""One event stream over HTTP (server-sent events). A client that is too slow has its stream ended, and resumes."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from time import monotonic

import msgspec
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from agentplat.infra.clock import now
from agentplat.infra.errors import AppError
from agentplat.realtime import metrics
from agentplat.realtime.errors import PositionInvalid
from agentplat.realtime.frames import Chunk, Text, event_lines
from agentplat.realtime.hub import Hub
from agentplat.realtime.models import ChannelKey
from agentplat.realtime.outbox import Outbox, observe
from agentplat.realtime.session import Session
from agentplat.realtime.subscription import Subscription

KEEP_ALIVE_SECONDS = 15.0
# A position is told with every event; with more runs than this in it, with one of so many runs.
MAX_POSITION = 100
# A run that was accepted so long ago has been heard of, even if the stream lost it.
SETTLED = timedelta(seconds=10)
DONE = -1

_encode = msgspec.json.Encoder().encode
_open: "set[EventStream]" = set()


def end_all() -> None:
    """End the streams of this process. Their clients resume elsewhere."""
    for stream in _open:
        stream.end()


class Position(Struct, frozen=True, kw_only=True):
    """Where a client is in a stream of several runs: the last event of each run that is going on, DONE for those that
    are over; and the time from which on runs were accepted that are missing here because it has seen nothing of them.
    """

    since: datetime
    runs: dict[str, int]

    def encode(self) -> str:
        return urlsafe_b64encode(_encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Position":
        try:
            position = msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (ValueError, msgspec.DecodeError) as error:
            raise PositionInvalid from error
        if position.since.tzinfo is None or any(number < DONE for number in position.runs.values()):
            raise PositionInvalid
        return position


class EventStream:
    """The events of one run, until it is over. Iterating it yields pieces of text, at least one every `keep_alive`
    seconds."""

    def __init__(self, hub: Hub, user_id: str, keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        self.session = Session(hub, self, user_id)
        self.number: int | None = None  # of the latest event when this began
        self.over = False  # nothing is added any more
        self._run_over = False
        self._closed = False
        self._keep_alive = keep_alive
        self._filled = asyncio.Event()
        self._outbox = Outbox(self._filled.set)
        _open.add(self)
        metrics.SOCKETS.inc()

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            _open.discard(self)
            metrics.SOCKETS.dec()
            await self.session.close()

    def end(self) -> None:
        self.over = True
        self._filled.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        outbox = self._outbox
        while outbox or not self.over:
            try:
                async with asyncio.timeout(self._keep_alive):
                    await self._filled.wait()
                self._filled.clear()
            except TimeoutError:
                yield ": keep-alive\n\n"
                continue
            sent, published = 0, None
            while outbox:
                piece = outbox.take(several=False)
                yield piece.text
                sent, published = sent + piece.count, piece.published or published
            metrics.DELIVERED.inc(sent)
            observe(published)

    @property
    def nothing_follows(self) -> bool:
        """Whether the client has the last event of a run that is over."""
        return self._run_over and not self._outbox

    # What the hub and the session tell

    def offer(self, chunk: Chunk, numbered: bool) -> bool:
        count = len(chunk.events)
        if not self._outbox.fits(count, chunk.size):
            metrics.DROPPED.inc(count)
            return False
        if count and not self.over:
            self._outbox.add([Text(self._lines(chunk), count, chunk.size, chunk.published)], count, chunk.size)
        if chunk.final:
            self._ended(chunk)
        return True

    def _lines(self, chunk: Chunk) -> str:
        return chunk.lines()

    def _ended(self, chunk: Chunk) -> None:
        self.end()

    def gap(self, subscription: Subscription, chunk: Chunk) -> None:
        metrics.GAPS.inc()
        self.end()

    def notify(self, payload: str) -> None:
        """Not for streams of events."""

    async def room(self) -> None:
        await self._outbox.room()

    def acknowledge(self, key: ChannelKey, number: int | None, over: bool) -> None:
        self.number, self._run_over = number, over

    def snapshot(self, key: ChannelKey, number: int | None, data: bytes) -> None:
        position = "" if number is None else f"id: {number}\n"
        self._add_snapshot(position, data)
        if self._run_over:
            self.end()

    def _add_snapshot(self, position: str, data: bytes) -> None:
        text = f"{position}event: snapshot\ndata: {data.decode()}\n\n"
        self._outbox.add([Text(text, 1, len(data))], 1, len(data))

    def fail(self, error: AppError) -> None:
        self.end()


class GraphStream(EventStream):
    """The run events of all runs of a graph. It has no end, and its ids are positions."""

    def __init__(self, hub: Hub, user_id: str, position: Position | None) -> None:
        super().__init__(hub, user_id)
        self._runs = dict(position.runs) if position is not None else {}
        self._since = now() if position is None else position.since
        self._done = deque((now(), run_id) for run_id, number in self._runs.items() if number == DONE)
        self._told_at = 0.0

    def know(self, run_id: str, number: int) -> None:
        """The run has come to that number, which is not news to the client."""
        self._runs.setdefault(run_id, number)

    def _ended(self, chunk: Chunk) -> None:
        self._done.append((now(), chunk.run_id))

    def _lines(self, chunk: Chunk) -> str:
        lines = []
        for event in chunk.events:
            over = chunk.final and event is chunk.events[-1]
            self._runs[chunk.run_id] = DONE if over else event.number
            lines.append(self._position() + event_lines(event))
        return "".join(lines)

    def snapshot(self, key: ChannelKey, number: int | None, data: bytes) -> None:
        self._add_snapshot(self._position(), data)

    def _position(self) -> str:
        """The position as a line. Left out now and then where it is long: who resumes from an older one misses nothing,
        but gets some events again."""
        if len(self._runs) > MAX_POSITION and monotonic() - self._told_at < 1:
            return ""
        self._told_at = monotonic()
        settled = now() - SETTLED
        while self._done and self._done[0][0] < settled:
            # It was accepted before it was over, hence before `since`, so it need not be named any more.
            self._runs.pop(self._done.popleft()[1], None)
        self._since = max(self._since, settled)
        return f"id: {Position(since=self._since, runs=self._runs).encode()}\n"


class StreamResponse(ASGIStreamingResponse):
    """Closes its stream, however the connection ends."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__(
            iterator=stream.__aiter__(),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # or nginx keeps events back
        )
        self._events = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.close()
