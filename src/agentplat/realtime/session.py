"""What one client is subscribed to, whichever way it is connected."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import msgspec

from agentplat.infra.errors import AppError
from agentplat.infra.ids import is_id
from agentplat.infra.telemetry import get_logger
from agentplat.realtime.channels import graph_of
from agentplat.realtime.errors import EventsGone, EventUnknown, NoSuchExecution, NotReadable
from agentplat.realtime.fold import Fold
from agentplat.realtime.hub import Hub
from agentplat.realtime.models import MAX_SNAPSHOTS, ChannelKey, Options, RunEvent, RunsTarget, RunTarget
from agentplat.realtime.replay import Replay
from agentplat.realtime.subscription import Sink, Subscription
from agentplat.realtime.watch import END, WatchedRun
from agentplat.runs import service as runs

# How long a client waits for events of before at most; without a database there are none.
OPEN_SECONDS = 10.0
# Node executions that are encoded between two chances for others to run.
SNAPSHOT_NODES = 100

Work = Callable[[], Coroutine[Any, Any, object]]

_LATEST = datetime.max.replace(tzinfo=UTC)

_encode = msgspec.json.Encoder().encode
_log = get_logger(__name__)


class Client(Sink, Protocol):
    """A sink that can also be told what isn't an event of a channel."""

    def acknowledge(self, key: ChannelKey, number: int | None, over: bool) -> None:
        """Say that the opted-in subscription holds, and which event precedes what is live: nothing, if it is over."""

    def snapshot(self, key: ChannelKey, number: int | None, data: bytes) -> None:
        """Show a run's state after event `number`. None where the events are not known any more."""

    def fail(self, error: AppError) -> None:
        """Say that events which were promised can't be had."""


class Session:
    """Of one client and user. Everything ends with `close`."""

    def __init__(self, hub: Hub, client: Client, user_id: str) -> None:
        self._hub = hub
        self._client = client
        self._user_id = user_id
        self._subscriptions: dict[ChannelKey, Subscription] = {}
        self._replays: dict[tuple[ChannelKey, str], asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def __contains__(self, key: ChannelKey) -> bool:
        return key in self._subscriptions

    @property
    def has_opted_in(self) -> bool:
        return any(subscription.numbered for subscription in self._subscriptions.values())

    async def close(self) -> None:
        replays = list(self._replays.values())
        for replay in replays:
            replay.cancel()
        for subscription in self._subscriptions.values():
            await self._hub.end(subscription)
        self._subscriptions.clear()
        await asyncio.gather(*replays, return_exceptions=True)

    async def subscribe(self, key: ChannelKey) -> None:
        """As the contract has it: to anything, known or not. What is subscribed to already stays as it is."""
        if key not in self._subscriptions:
            async with self._hub.opened(key, must=False) as opened:
                self._enter(opened, key, None)

    async def unsubscribe(self, key: ChannelKey) -> bool:
        """False where there was no such subscription."""
        subscription = self._subscriptions.pop(key, None)
        if subscription is None:
            return False
        await self._hub.end(subscription)
        for (of, _), replay in list(self._replays.items()):
            if of == key:
                replay.cancel()
        return True

    async def subscribe_run(self, key: ChannelKey, target: RunTarget) -> None:
        """One run with what the client opts into. Raises an AppError, and then nothing is subscribed."""
        known = await self._own([key.id], None)
        if not known:
            if target.snapshot or target.last_event is not None:
                raise NoSuchExecution
            async with self._hub.opened(key, must=False) as opened:
                self._enter(opened, key, target)
                self._client.acknowledge(key, 0, over=False)
            return
        async with _reading(), self._hub.opened(key, must=True) as opened:
            watched = self._hub.hold(key.id, self._user_id, known[key.id], END)
            try:
                await self._reach(watched, target.last_event)
                if target.snapshot:
                    await self._show(watched, opened, key, target)
                    return
                if watched.gone and target.last_event is not None:
                    raise EventsGone
                _check(watched, target.last_event, "last_event")
                async with watched.lock:
                    subscription = self._enter(opened, key, target)
                    self._client.acknowledge(key, watched.number, watched.over)
                    if target.last_event is not None and target.last_event < watched.number:
                        self._replay(watched, subscription, target.last_event)
                    else:
                        self._stop(key, key.id)
                        subscription.goes_on(key.id, watched.number, watched.told)
            finally:
                self._hub.release(watched)

    async def subscribe_runs(self, key: ChannelKey, target: RunsTarget) -> None:
        """All runs of a graph or of the user, likewise."""
        last_events = target.last_event or {}
        known = await self._own(list(last_events), graph_of(key))
        if len(known) < len(last_events):
            raise NoSuchExecution
        async with _reading(), self._hub.opened(key, must=True) as opened:
            held: list[WatchedRun] = []
            try:
                for run_id, number in last_events.items():
                    watched = self._hub.hold(run_id, self._user_id, known[run_id], END)
                    held.append(watched)
                    await self._reach(watched, number)
                    if watched.gone:
                        raise EventsGone
                    _check(watched, number, f"last_event.{run_id}")
                subscription = self._enter(opened, key, target)
                self._client.acknowledge(key, None, over=False)
                for watched in held:
                    self._replay(watched, subscription, last_events[watched.run_id])
                if target.snapshot:
                    self._show_later(key, subscription, set(last_events))
            finally:
                for watched in held:
                    self._hub.release(watched)

    async def numbers(self, key: ChannelKey) -> dict[str, int]:
        """How far the channel's newest runs have come that are not over."""
        numbers: dict[str, int] = {}
        async with _reading():
            for watched in self._newest(key):
                watched.holds += 1
                try:
                    await self._reach(watched, None)
                    # What is on its way is news to the client.
                    numbers[watched.run_id] = watched.heard if watched.queued else watched.number
                finally:
                    self._hub.release(watched)
        return numbers

    # Parts

    async def _own(self, run_ids: list[str], graph_id: str | None) -> dict[str, str]:
        possible = [run_id for run_id in run_ids if is_id(run_id)]
        async with _reading():
            return await runs.own(self._user_id, possible, graph_id) if possible else {}

    def _enter(self, opened: Subscription, key: ChannelKey, options: Options | None) -> Subscription:
        """Begin the subscription, or have the one that there is go by other options: what it misses it still misses."""
        subscription = self._subscriptions.get(key)
        if subscription is None:
            subscription = self._subscriptions[key] = opened
            subscription.begin(self._client, key)
        if options is not None:
            subscription.numbered = True
            subscription.filter = options.filter
        return subscription

    async def _reach(self, watched: WatchedRun, number: int | None) -> None:
        """Have the run taken as far as the client knows it, and at least as far as the hub does."""
        if watched.fold is None:
            watched.resume_after = number
        if watched.fold is None or watched.due or (number is not None and number > watched.number):
            await self._hub.bring_up(watched)

    def _replay(self, watched: WatchedRun, subscription: Subscription, number: int) -> None:
        """Send what the client missed, by a task of its own: it may have to wait for the client."""
        subscription.held.add(watched.run_id)
        watched.holds += 1
        self._start(subscription.key, watched, Replay(watched, subscription, number).run)

    def _start(self, key: ChannelKey, watched: WatchedRun, work: Work) -> None:
        self._stop(key, watched.run_id)
        task = asyncio.create_task(self._guarded(work, watched), name="replay")
        self._replays[key, watched.run_id] = task
        task.add_done_callback(lambda _: self._done(key, watched, task))

    def _stop(self, key: ChannelKey, run_id: str) -> None:
        if before := self._replays.pop((key, run_id), None):
            before.cancel()

    def _done(self, key: ChannelKey, watched: WatchedRun, task: asyncio.Task[None]) -> None:
        # Here, and not in the task: one that is cancelled before it began runs none of its code.
        self._hub.release(watched)
        if self._replays.get((key, watched.run_id)) is task:
            del self._replays[key, watched.run_id]

    async def _guarded(self, work: Work, watched: WatchedRun) -> None:
        try:
            await work()
        except AppError as error:
            self._client.fail(error)
        except Exception:
            # A mistake about one run: its client is told, and goes on with the others.
            _log.exception("run_not_replayed", run_id=watched.run_id)
            self._client.fail(NotReadable())

    # Snapshots

    async def _show(self, watched: WatchedRun, opened: Subscription, key: ChannelKey, target: RunTarget) -> None:
        if watched.gone or watched.fold is None:
            data, number = await self._stored(watched.run_id), None
            self._enter(opened, key, target)
            self._client.acknowledge(key, None, over=True)
            self._client.snapshot(key, number, data)
            return
        async with watched.lock:
            # Nothing is fed while the lock is held, so this is the state after exactly that event.
            data = await _state(watched.fold)
            subscription = self._enter(opened, key, target)
            self._stop(key, key.id)
            self._client.acknowledge(key, watched.number, watched.over)
            self._client.snapshot(key, watched.number, data)
            subscription.goes_on(watched.run_id, watched.number, watched.told)

    async def _stored(self, run_id: str) -> bytes:
        """The state of a run whose journal is gone, from its row."""
        row = await runs.find(run_id)
        if row is None:
            raise NoSuchExecution
        execution = _encode(RunEvent(**runs.row_members(row)))
        return b'{"execution":' + execution + b',"nodes":' + (row.node_executions or b"[]") + b"}"

    def _show_later(self, key: ChannelKey, subscription: Subscription, but: set[str]) -> None:
        for watched in self._newest(key):
            if watched.run_id not in but:
                subscription.held.add(watched.run_id)
                watched.holds += 1
                self._start(key, watched, partial(self._show_one, watched, subscription))

    def _newest(self, key: ChannelKey) -> list[WatchedRun]:
        newest = sorted(self._hub.watched(key), key=lambda one: one.created_at or _LATEST, reverse=True)
        return newest[:MAX_SNAPSHOTS]

    async def _show_one(self, watched: WatchedRun, subscription: Subscription) -> None:
        await self._client.room()
        await self._reach(watched, None)
        if watched.fold is None:
            subscription.held.discard(watched.run_id)
            return
        async with watched.lock:
            data = await _state(watched.fold)
            self._client.snapshot(subscription.key, watched.number, data)
            subscription.goes_on(watched.run_id, watched.number, watched.told)


async def _state(fold: Fold) -> bytes:
    """The run and its node executions, as a JSON object."""
    nodes: list[bytes] = []
    for count, node in enumerate(fold.nodes(), 1):
        nodes.append(_encode(node))
        if count % SNAPSHOT_NODES == 0:
            await asyncio.sleep(0)
    return b'{"execution":' + _encode(fold.execution()) + b',"nodes":[' + b",".join(nodes) + b"]}"


def _check(watched: WatchedRun, number: int | None, field: str) -> None:
    if number is not None and number > watched.number:
        raise EventUnknown(f"{field}: this is beyond the latest event, which is number {watched.number}")


@asynccontextmanager
async def _reading() -> AsyncIterator[None]:
    """For so long at most, and with an error that the client understands."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            yield
    except runs.DATABASE_AWAY as error:  # a time-out is among them
        raise NotReadable from error
