"""One hub per process: follows the event streams, and hands what somebody watches to the clients.

Two Redis connections whatever the number of clients. Nothing is folded or encoded for runs that nobody watches; what is
watched is encoded once. Clients are never waited for: each has a queue of its own.

The hub is the backend of a channels plugin, which hands out: who folds puts what subscribers are to get into a queue,
and `stream_events` yields it, all of it in one piece. So nothing waits there longer than others were let run.

The stream is only the fast way. A record that it loses is found by the number of the next one; by looking at the
database when the stream was interrupted; and, as the last record of a run has no next one, by looking at the runs that
are quiet every few seconds, one statement for all of them.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from litestar.channels import ChannelsBackend

from agentplat.events import service as events
from agentplat.events.models import Notification, RunRecord
from agentplat.infra.clock import now
from agentplat.infra.ids import is_id
from agentplat.infra.telemetry import get_logger
from agentplat.realtime import metrics
from agentplat.realtime.channels import Channels, Plugin, graph_of
from agentplat.realtime.fold import Keep
from agentplat.realtime.frames import Chunk, Event, chunked
from agentplat.realtime.models import ChannelKey
from agentplat.realtime.subscription import Sink, Subscription
from agentplat.realtime.watch import SLICE_SECONDS, WatchedRun
from agentplat.runs import service as runs

# A run, the number of its latest event, and what to hand out: names of channels, each with what subscribers get.
Made = tuple[WatchedRun, int, list[tuple[str, Chunk]]]

READY_SECONDS = 2.0
LOOK_SECONDS = 3.0
# A run may be seen in the database so much later than the time that it says it was accepted at.
OVERLAP = timedelta(seconds=10)
RETRY_SECONDS = 0.5
# Runs that are folded from the journal at once: enough to go on while one of them waits, few enough to leave database
# connections to others.
FOLDED_AT_ONCE = 4

_log = get_logger(__name__)


class Hub(ChannelsBackend):
    """Use as `async with Hub() as hub`. All methods belong to the event loop's thread.

    `look_seconds`: how often it looks for what the stream lost.
    """

    def __init__(self, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._plugin = Plugin(self, arbitrary_channels_allowed=True, subscriber_class=Subscription)
        self._channels = Channels()
        self._made: asyncio.Queue[Made] = asyncio.Queue()
        self._runs: dict[str, WatchedRun] = {}
        self._ended: dict[str, datetime] = {}  # runs that were shown to their end, and when
        self._sinks: dict[str, set[Sink]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._folding = asyncio.Semaphore(FOLDED_AT_ONCE)
        self._settling: dict[WatchedRun, asyncio.Task[None]] = {}
        self._interrupted = asyncio.Event()
        self._looked_at = now()
        self._ready = asyncio.Event()

    async def __aenter__(self) -> "Hub":
        await self._plugin.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._plugin.__aexit__(None, None, None)

    # What the plugin asks for

    async def on_startup(self) -> None:
        _ = self._spawn(self._follow(), "event-hub")
        _ = self._spawn(self._look_regularly(), "event-hub-look")

    async def on_shutdown(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Watch channels. Never waits, so that it can't be cut short; where their runs stand is found out later."""
        for name in channels:
            self._channels.add(ChannelKey.named(name))

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        for name in channels:
            self._channels.remove(ChannelKey.named(name))

    async def stream_events(self) -> AsyncGenerator[tuple[str, Any], None]:
        """What subscribers are to get, each with the name of its channel. A payload is a `Chunk`, so that several
        events are one payload and a text is made once for all who get it."""
        while True:
            watched, number, shown = await self._made.get()
            for channel, chunk in shown:
                yield channel, chunk
            watched.queued, watched.heard = watched.queued - 1, number
            self._see_to(watched)

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        raise TypeError("Events come about by being recorded, and in no other way")

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        """None: the past of a run is asked for by number, of `Replay`."""
        return []

    async def ready(self) -> None:
        """Wait until the streams are being followed: what is published from now on will be seen.

        Not for ever: while Redis is away a socket is still answered, and gets its events from the journal.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()

    # Clients

    def enter(self, sink: Sink, user_id: str) -> None:
        """Have a client get its user's notifications."""
        self._sinks.setdefault(user_id, set()).add(sink)

    def leave(self, sink: Sink, user_id: str) -> None:
        sinks = self._sinks.get(user_id, set())
        sinks.discard(sink)
        if not sinks:
            self._sinks.pop(user_id, None)

    @asynccontextmanager
    async def opened(self, key: ChannelKey, must: bool) -> AsyncIterator[Subscription]:
        """A subscription to a channel of which it is known where its runs stand, so nothing is missed that comes once
        it has begun. It is there for the block to begin; if that doesn't, it is gone again.

        Where that can't be known now, raises the reason if it `must` be; else events begin with the next record.
        """
        subscription = await self._plugin.subscribe([key.name])
        assert isinstance(subscription, Subscription)
        try:
            async with self._channels[key].lock:
                try:
                    await self._locate(key)
                except runs.DATABASE_AWAY as error:
                    if must:
                        raise
                    _log.warning("channel_not_located", reason=str(error))
            yield subscription
        finally:
            if not subscription.begun:
                await self._plugin.unsubscribe(subscription, key.name)

    async def end(self, subscription: Subscription) -> None:
        """End a subscription that has begun."""
        metrics.SUBSCRIPTIONS.dec()
        await self._plugin.unsubscribe(subscription, subscription.key.name)

    def has(self, channel: ChannelKey) -> bool:
        """Whether anybody is subscribed to it in this process."""
        return channel in self._channels

    def watched(self, channel: ChannelKey) -> list[WatchedRun]:
        """The runs of a channel that are not over, as far as they are known."""
        return [one for one in self._runs.values() if channel in _keys(one.user_id, one.graph_id, one.run_id)]

    def hold(self, run_id: str, user_id: str, graph_id: str, silent_through: int) -> WatchedRun:
        """Have a run followed, whether or not somebody is subscribed to it, until it is released."""
        watched = self._runs.get(run_id) or self._watch(run_id, user_id, graph_id, silent_through)
        watched.holds += 1
        return watched

    def release(self, watched: WatchedRun) -> None:
        watched.holds -= 1
        self._forget_if_unwanted(watched)

    async def bring_up(self, watched: WatchedRun) -> None:
        """Have a run that is held taken as far as its journal goes. Never ends while the database is away."""
        watched.behind = True
        self._settle(watched)
        while watched.due and (settling := self._settling.get(watched)):
            await asyncio.wait({settling})

    # The stream

    async def _follow(self) -> None:
        async for batch in events.follow():
            if not batch:
                self._interrupted.set()
            self._ready.set()
            began = monotonic()
            for record in batch:
                if isinstance(record, Notification):
                    self._notify(record)
                else:
                    await self._take(record)
                # One record may make thousands of frames: let the clients' queues be sent.
                if monotonic() - began > SLICE_SECONDS:
                    await asyncio.sleep(0)
                    began = monotonic()

    def _notify(self, record: Notification) -> None:
        for sink in self._sinks.get(record.user_id, ()):
            sink.notify(record.payload.decode())

    async def _take(self, record: RunRecord) -> None:
        watched = self._runs.get(record.run_id)
        if not self._channels.of_user(record.user_id) and watched is None:
            return
        keys = _keys(record.user_id, record.graph_id, record.run_id)
        if watched is None:
            if record.run_id in self._ended or not self._channels.any(keys):
                return
            watched = self._watch(record.run_id, record.user_id, record.graph_id, None)
        elif self._forget_if_unwanted(watched):
            return
        if watched.fold is None or watched.due or watched.lock.locked():
            watched.note(record)
            self._settle(watched)
            return
        watched.keep = self._keep(watched)
        try:
            async with watched.lock:
                await watched.take(record)
        except Exception:  # see there
            self._give_up(watched)
        self._see_to(watched)

    # Runs

    def _watch(self, run_id: str, user_id: str, graph_id: str, silent_through: int | None) -> WatchedRun:
        since = self._channels.since(_keys(user_id, graph_id, run_id)) if silent_through is None else None
        watched = WatchedRun(run_id, user_id, graph_id, self._emit, silent_through, since)
        self._runs[run_id] = watched
        return watched

    def _keep(self, watched: WatchedRun) -> Keep:
        wanted = watched.holds or self._channels.any([ChannelKey(watched.user_id, "run", watched.run_id)])
        return Keep.ALL if wanted else Keep.RUN_EVENTS

    def _forget_if_unwanted(self, watched: WatchedRun) -> bool:
        """Not while subscribers have not heard all of it: who comes meanwhile must know what is on its way to them."""
        keys = _keys(watched.user_id, watched.graph_id, watched.run_id)
        if watched.queued or (not watched.over and (watched.holds or self._channels.any(keys))):
            return False
        if self._runs.get(watched.run_id) is watched:
            del self._runs[watched.run_id]
            if watched.over:
                self._ended[watched.run_id] = now()
        return True

    def _settle(self, watched: WatchedRun) -> None:
        """Have a run brought up to date by a task of its own, so that nobody else waits for it."""
        if watched not in self._settling:
            self._settling[watched] = self._spawn(self._bring_up(watched), "event-hub-run")

    async def _bring_up(self, watched: WatchedRun) -> None:
        try:
            async with self._folding:
                while watched.due and (watched.holds or self._runs.get(watched.run_id) is watched):
                    watched.keep = self._keep(watched)
                    try:
                        async with watched.lock:
                            await watched.bring_up()
                    except runs.DATABASE_AWAY as error:
                        _log.warning("journal_not_read", run_id=watched.run_id, reason=str(error))
                        await asyncio.sleep(RETRY_SECONDS)
                    except Exception:  # see there
                        self._give_up(watched)
        finally:
            del self._settling[watched]
        self._see_to(watched)

    def _give_up(self, watched: WatchedRun) -> None:
        """One run that can't be folded must not end the stream of all others."""
        _log.exception("run_not_shown", run_id=watched.run_id)
        watched.over = watched.gone = True

    def _see_to(self, watched: WatchedRun) -> None:
        """What is left to do for a run after it has taken something."""
        if (watched.over or watched.due) and not self._forget_if_unwanted(watched) and watched.due:
            self._settle(watched)

    def _emit(self, watched: WatchedRun, made: list[Event], before: int, published: float | None) -> None:
        shown: list[tuple[str, Chunk]] = []
        for key in _keys(watched.user_id, watched.graph_id, watched.run_id):
            if (channel := self._channels.get(key)) is None:
                continue
            if events := made if key.kind == "run" else [event for event in made if event.node_id is None]:
                chunks = chunked(key, watched.run_id, before, events, watched.number, watched.over, published)
                shown += [(channel.name, chunk) for chunk in chunks]
        if shown:
            watched.heard = watched.heard if watched.queued else before
            watched.queued += 1
            self._made.put_nowait((watched, watched.number, shown))

    # What the stream lost

    async def _look_regularly(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._interrupted.wait()
            everything = self._interrupted.is_set()
            self._interrupted.clear()
            try:
                await self._look(everything)
            except Exception as error:
                # The database is away as well; what is missed till then is found by the next look.
                _log.warning("events_not_looked_for", reason=str(error))
                if everything:
                    self._interrupted.set()
                    await asyncio.sleep(RETRY_SECONDS)

    async def _look(self, everything: bool) -> None:
        """Find runs that have gone on unheard: all of them, or those of which nothing was heard since the last look."""
        began = now()
        for watched in list(self._runs.values()):
            self._forget_if_unwanted(watched)
        quiet = [
            one
            for one in self._runs.values()
            if one.created_at is not None and not one.due and (everything or one.checked_at == one.row_seq)
        ]
        for watched in self._runs.values():
            watched.checked_at = watched.row_seq
        known = [
            runs.Position(
                id=one.run_id,
                user_id=one.user_id,
                graph_id=one.graph_id,
                created_at=one.created_at,
                row_seq=one.row_seq,
            )
            for one in quiet
            if one.created_at is not None
        ]
        for run_id in await runs.moved(known) if known else ():
            if moved := self._runs.get(run_id):
                moved.behind = True
                self._settle(moved)
        several = self._channels.of_several_runs()
        for position in await runs.begun(several, self._looked_at - OVERLAP) if several else ():
            self._begin(position)
        self._looked_at = began
        while self._ended and next(iter(self._ended.values())) < began - 3 * OVERLAP:
            del self._ended[next(iter(self._ended))]

    def _begin(self, position: runs.Position) -> None:
        """Watch a run from its acceptance, if that was after somebody began to watch."""
        since = self._channels.since(_keys(position.user_id, position.graph_id, position.id))
        if position.id in self._runs or position.id in self._ended or since is None or position.created_at < since:
            return
        watched = self._watch(position.id, position.user_id, position.graph_id, -1)
        watched.behind = True
        self._settle(watched)

    async def _locate(self, key: ChannelKey) -> None:
        """Enter the runs of a channel that are under way, each with the place where it stands.

        A run of which something is heard meanwhile is entered by that: the channel is there already. What is heard
        later is either behind the place, and shown, or was recorded before anybody was told that this is subscribed to.
        """
        channel = self._channels[key]
        if channel.located:
            return
        if key.kind == "run":
            found = await runs.position_of(key.user_id, key.id) if is_id(key.id) else []
        elif key.kind == "user" or is_id(key.id):
            found = await runs.positions(key.user_id, graph_of(key))
        else:
            found = []
        channel.located = True
        for one in found:
            if one.id in self._runs or one.id in self._ended:
                continue
            since = None if key.kind == "run" else channel.since
            place = -1 if since is not None and one.created_at >= since else one.row_seq
            self._watch(one.id, one.user_id, one.graph_id, place).created_at = one.created_at

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _keys(user_id: str, graph_id: str, run_id: str) -> tuple[ChannelKey, ChannelKey, ChannelKey]:
    """The channels that a run's events are on."""
    return ChannelKey(user_id, "run", run_id), ChannelKey(user_id, "graph", graph_id), ChannelKey(user_id, "user", "")
