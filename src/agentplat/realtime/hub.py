"""One hub per process: tails the event streams, and hands what somebody watches to the sockets.

Two Redis connections whatever the number of sockets. Nothing is folded or encoded for runs that nobody watches; what is
watched is encoded once per channel. Sockets are never waited for: each has a queue of its own.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from agentplat.events import service as events
from agentplat.events.models import WITHOUT_MESSAGES, RunRecord
from agentplat.infra.telemetry import get_logger
from agentplat.realtime.models import graph_channel, run_channel
from agentplat.realtime.watch import WatchedRun

READY_SECONDS = 2.0

_log = get_logger(__name__)


class Subscriber(Protocol):
    """Takes text frames without ever blocking."""

    def offer(self, frame: str) -> None: ...


class Hub:
    """Use as `async with Hub() as hub`. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._channels: dict[str, set[Subscriber]] = {}
        self._watched: dict[str, WatchedRun] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def __aenter__(self) -> "Hub":
        self._task = asyncio.create_task(self._follow(), name="event-hub")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def ready(self) -> None:
        """Wait until the streams are being followed: what is published from now on will be seen.

        Not for ever: while Redis is away a socket is still answered, and gets its events when Redis is back.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()

    def subscribe(self, subscriber: Subscriber, channel: str) -> None:
        self._channels.setdefault(channel, set()).add(subscriber)

    def unsubscribe(self, subscriber: Subscriber, channel: str) -> bool:
        """False where nobody was subscribed to that channel here."""
        subscribers = self._channels.get(channel)
        if subscribers is None:
            return False
        subscribers.discard(subscriber)
        if not subscribers:
            del self._channels[channel]
        return True

    def drop(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Forget a subscriber that has left."""
        for channel in channels:
            self.unsubscribe(subscriber, channel)

    async def _follow(self) -> None:
        async for records in events.tail():
            self._ready.set()
            if not records:
                await self._look_for_missed()
            for record in records:
                try:
                    await self._take(record)
                except Exception:
                    # One run that can't be folded must not end the stream of all others.
                    _log.exception("record_not_shown", run_id=record.run_id, seq=record.seq)
                    self._watched.pop(record.run_id, None)
                # One record may make thousands of frames: let the sockets send them before the next.
                await asyncio.sleep(0)

    async def _take(self, record: RunRecord) -> None:
        watched = self._watched.get(record.run_id)
        if not (
            self._wanted(run_channel(record.user_id, record.run_id))
            or self._wanted(graph_channel(record.user_id, record.graph_id))
        ):
            self._watched.pop(record.run_id, None)
            return
        if record.seq == WITHOUT_MESSAGES:
            self._watched.pop(record.run_id, None)
            await WatchedRun.show_end(record.run_id, self._emit, self._wanted)
            return
        if watched is None:
            watched = await WatchedRun.open(record.run_id, record.seq, self._emit, self._wanted)
            if watched is None:
                return
            self._watched[record.run_id] = watched
        if record.seq == 0:
            watched.accepted()
            return
        await watched.take(record)
        if watched.final:
            del self._watched[record.run_id]

    async def _look_for_missed(self) -> None:
        """The stream was interrupted: what came in between stands in the journal."""
        for watched in list(self._watched.values()):
            await watched.catch_up()

    def _wanted(self, channel: str) -> bool:
        return channel in self._channels

    def _emit(self, channel: str, frame: str) -> None:
        for subscriber in self._channels.get(channel, ()):
            subscriber.offer(frame)
