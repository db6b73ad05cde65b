"""The hub with a real worker behind it, and a Redis that fails in all the ways it can."""

import asyncio
import gc
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.engine.messages import decode, encode
from agentplat.events import service as events
from agentplat.infra.db import Database
from agentplat.infra.settings import get_settings
from agentplat.realtime import metrics
from agentplat.realtime.fold import Fold, Keep
from agentplat.realtime.frames import Chunk, Event
from agentplat.realtime.hub import Hub
from agentplat.realtime.models import ChannelKey, GraphTarget, RunTarget
from agentplat.realtime.replay import Replay
from agentplat.realtime.session import Session
from agentplat.realtime.subscription import Subscription
from agentplat.runs import queries
from agentplat.runs import service as runs
from agentplat.runs.driver import Driver
from tests.support.conditions import cut_from_redis, until
from tests.support.drawing import SPILL, STORE, draw
from tests.support.hosting import FINAL, final, look
from tests.support.switches import environment_of
from tests.support.world import ANN, save, start

STREAM = draw({"p": (SPILL, {"count": 30, "delay": 0.01}), "b": (STORE, {})}, "p.n -> b.input")
LONG_STREAM = draw({"p": (SPILL, {"count": 150, "delay": 0.02}), "b": (STORE, {})}, "p.n -> b.input")


class Ear:
    """A client that keeps what it hears. It has room for `most` events, and for more when `most` is raised."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.most = most
        self.events: list[tuple[str, int, str]] = []
        self.gaps: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self.over = asyncio.Event()

    def offer(self, chunk: Chunk, numbered: bool) -> bool:
        if len(self.events) + len(chunk.events) > self.most:
            return False
        self.events.extend((chunk.run_id, event.number, event.data) for event in chunk.events)
        if chunk.final:
            self.over.set()
        return True

    def gap(self, subscription: Subscription, chunk: Chunk) -> None:
        self.gaps.append((chunk.run_id, chunk.before))

    def notify(self, payload: str) -> None:
        self.notes.append(payload)

    async def room(self) -> None: ...

    def acknowledge(self, key: ChannelKey, number: int | None, over: bool) -> None:
        self.number = number
        if over:
            self.over.set()

    def snapshot(self, key: ChannelKey, number: int | None, data: bytes) -> None:
        self.state = number, msgspec.json.decode(data)

    def fail(self, error: Exception) -> None:
        raise error

    def numbers(self, run_id: str) -> list[int]:
        return [number for of, number, _ in self.events if of == run_id]


@pytest.fixture
async def hub(db: Database, redis: Redis) -> AsyncIterator[Hub]:
    async with Hub() as one:
        await one.ready()
        yield one


@pytest.fixture
async def watchful(db: Database, redis: Redis) -> AsyncIterator[Hub]:
    """A hub that looks all the time for what the stream lost."""
    async with Hub(look_seconds=0.1) as one:
        await one.ready()
        yield one


@pytest.fixture
async def driver(db: Database, redis: Redis) -> AsyncIterator[Driver]:
    async with Driver(get_settings()) as one:
        yield one


async def folded(run_id: str) -> list[Event]:
    """All events of a run, from its journal."""
    row = await queries.find(run_id)
    assert row is not None
    fold = await Fold.open(row)
    made = fold.begin(Keep.ALL)
    for one in await runs.read_rows(row, 0, 10_000):
        for some in fold.feed(one.seq, one.body, Keep.ALL):
            made += some
    if not fold.final:
        made += fold.end(row, Keep.ALL)
    return made


async def heard(ear: Ear, run_id: str) -> None:
    """Once the client has heard the end: that it heard everything, in order."""
    await until(ear.over.is_set)
    every = await folded(run_id)
    assert ear.events == [(run_id, event.number, event.data) for event in every]


async def drive(driver: Driver, run_id: str) -> None:
    _ = await driver.accept(run_id)  # or the sweep has taken it


async def follow(hub: Hub, run_id: str, **options: Any) -> tuple[Ear, Session]:
    ear = Ear()
    session = Session(hub, ear, ANN.id)
    await session.subscribe_run(ChannelKey(ANN.id, "run", run_id), RunTarget(graph_exec_id=run_id, **options))
    return ear, session


async def test_records_that_are_lost_on_their_way_are_found(watchful: Hub, driver: Driver, db: Database) -> None:
    """Now and then all is published where this hub doesn't listen, the last record too."""
    run = await start(await save(LONG_STREAM))
    ear, session = await follow(watchful, run.id, last_event=0)
    await drive(driver, run.id)

    async def rows() -> int:
        return int(await db.fetchval("SELECT count(*) FROM journal WHERE run_id = $1", run.id))

    async def goes_on(known: int) -> bool:
        """Or is over. A row is committed after the one before it was published."""
        return await rows() > known + 1 or (await look(run))["status"] in FINAL

    for _ in range(3):
        with environment_of(AGENTPLAT_REDIS_PREFIX="elsewhere"):
            await until(partial(goes_on, await rows()))
        known = len(ear.events)
        await until(lambda known=known: len(ear.events) > known or ear.over.is_set())
    with environment_of(AGENTPLAT_REDIS_PREFIX="elsewhere"):
        await final(run)
        await heard(ear, run.id)
    await session.close()


async def test_runs_that_began_and_ended_unheard_are_shown(watchful: Hub, driver: Driver) -> None:
    graph = await save(STREAM)
    ears = [Ear(), Ear()]
    sessions = [Session(watchful, ear, ANN.id) for ear in ears]
    await sessions[0].subscribe_runs(ChannelKey(ANN.id, "graph", graph.id), GraphTarget(graph_id=graph.id, seq=True))
    await sessions[1].subscribe(ChannelKey(ANN.id, "user", ""))
    with environment_of(AGENTPLAT_REDIS_PREFIX="elsewhere"):
        run = await start(graph)
        await drive(driver, run.id)
        await final(run)
        every = [(run.id, one.number, one.data) for one in await folded(run.id) if one.node_id is None]
        for ear in ears:
            await until(ear.over.is_set)
            assert ear.events == every
    for session in sessions:
        await session.close()


async def test_an_emptied_redis_leaves_no_hole(watchful: Hub, driver: Driver, redis: Redis) -> None:
    """All streams vanish and every connection is cut, again and again while the run goes on."""
    run = await start(await save(LONG_STREAM))
    ear, session = await follow(watchful, run.id, last_event=0)
    await drive(driver, run.id)
    for _ in range(5):
        known = len(ear.events)
        await until(lambda known=known: len(ear.events) > known or ear.over.is_set())
        await redis.flushdb()
        await cut_from_redis(redis, "normal")
    await final(run)
    await heard(ear, run.id)
    await session.close()


async def test_a_client_that_was_too_slow_resumes_where_it_was_told(hub: Hub, driver: Driver) -> None:
    run = await start(await save(STREAM))
    key = ChannelKey(ANN.id, "run", run.id)
    ear = Ear(most=10)
    session = Session(hub, ear, ANN.id)
    await session.subscribe_run(key, RunTarget(graph_exec_id=run.id, last_event=0))
    await drive(driver, run.id)
    await final(run)
    await until(lambda: ear.gaps)
    ((gone, number),) = ear.gaps
    assert (gone, number) == (run.id, ear.numbers(run.id)[-1])
    ear.most = 1_000_000
    await session.subscribe_run(key, RunTarget(graph_exec_id=run.id, last_event=number))
    await heard(ear, run.id)
    assert len(ear.gaps) == 1
    await session.close()


async def test_who_comes_while_events_are_on_their_way_gets_each_once(hub: Hub, driver: Driver) -> None:
    """They are folded, and numbered, before they are handed out."""
    run = await start(await save(STREAM))
    await drive(driver, run.id)
    await final(run)
    key = ChannelKey(ANN.id, "run", run.id)
    first, second = Ear(), Ear()
    async with hub.opened(key, must=True) as one, hub.opened(key, must=True) as two:
        one.begin(first, key)
        watched = hub.hold(run.id, ANN.id, run.graph_id, -1)
        watched.keep, watched.behind = Keep.ALL, True
        async with watched.lock:
            await watched.bring_up()
        two.begin(second, key)
        assert await Replay(watched, two, 0).run()
        assert watched.queued
        hub.release(watched)
    every = [(run.id, event.number, event.data) for event in await folded(run.id)]
    await until(lambda: not watched.queued)
    assert first.events == second.events == every
    assert not two.floors
    assert run.id not in hub._runs
    for subscription in (one, two):
        await hub.end(subscription)


async def test_a_client_that_fails_ends_nobody_elses_events(hub: Hub, driver: Driver) -> None:
    class Broken(Ear):
        def offer(self, chunk: Chunk, numbered: bool) -> bool:
            raise RuntimeError("broken")

    run = await start(await save(STREAM))
    ear, session = await follow(hub, run.id, last_event=0)
    broken = Session(hub, Broken(), ANN.id)
    await broken.subscribe(ChannelKey(ANN.id, "run", run.id))
    await drive(driver, run.id)
    await final(run)
    await heard(ear, run.id)
    await session.close()
    await broken.close()


async def test_nothing_is_left_of_those_who_have_gone(hub: Hub, driver: Driver) -> None:
    graph = await save(STREAM)
    subscriptions = metrics.SUBSCRIPTIONS._value.get()
    started = [await start(graph) for _ in range(3)]
    for _ in range(5):
        for run in started:
            _, session = await follow(hub, run.id, last_event=0)
            await session.subscribe_runs(
                ChannelKey(ANN.id, "graph", graph.id), GraphTarget(graph_id=graph.id, snapshot=True)
            )
            await session.subscribe(ChannelKey(ANN.id, "user", ""))
            await session.close()
    for run in started:
        await drive(driver, run.id)
        await final(run)
    await hub._look(everything=True)
    await until(lambda: not (hub._runs or hub._settling))
    assert metrics.SUBSCRIPTIONS._value.get() == subscriptions
    assert not len(hub._channels)
    assert not hub._channels._of_user
    assert not hub._plugin._channels

    def is_nobody_subscribed() -> bool:
        gc.collect()
        return not [one for one in gc.get_objects() if isinstance(one, Subscription)]

    await until(is_nobody_subscribed)


async def test_when_the_journal_is_gone_the_last_state_is_left(hub: Hub, driver: Driver, db: Database) -> None:
    run = await start(await save(STREAM))
    await drive(driver, run.id)
    seen = await final(run)
    await db.execute("DELETE FROM journal WHERE run_id = $1", run.id)
    ear = Ear()
    session = Session(hub, ear, ANN.id)
    key = ChannelKey(ANN.id, "run", run.id)
    with pytest.raises(Exception, match="journal of this execution was retired"):
        await session.subscribe_run(key, RunTarget(graph_exec_id=run.id, last_event=3))
    assert key not in session
    await session.subscribe_run(key, RunTarget(graph_exec_id=run.id, snapshot=True))
    number, state = ear.state
    assert number is None
    assert state["execution"]["status"] == "COMPLETED"
    assert state["nodes"] == seen["node_executions"]
    await session.close()


async def test_notifications_reach_every_client_of_their_user(hub: Hub) -> None:
    mine, foreign = [Ear(), Ear()], Ear()
    for ear in mine:
        hub.enter(ear, ANN.id)
    hub.enter(foreign, "bob")
    payload = {"type": "onboarding", "event": "increment_runs", "step": None}
    assert await events.notify(ANN.id, payload)
    await until(lambda: all(ear.notes for ear in mine))
    assert [msgspec.json.decode(note) for ear in mine for note in ear.notes] == [payload, payload]
    assert not foreign.notes
    for ear in mine:
        hub.leave(ear, ANN.id)
    hub.leave(foreign, "bob")
    assert not hub._sinks


async def test_events_are_a_function_of_the_rows(hub: Hub, driver: Driver) -> None:
    """However the messages are cut into rows: numbers without a hole, and node events are the same."""
    run = await start(await save(STREAM))
    await drive(driver, run.id)
    await final(run)
    row = await queries.find(run.id)
    assert row is not None
    messages = [message for one in await runs.read_rows(row, 0, 10_000) for message in decode(one.body)]
    nodes: set[tuple[str, ...]] = set()
    for size in (1, 2, 3, 7, 50, len(messages)):
        fold = await Fold.open(row)
        made = fold.begin(Keep.ALL)
        silent = await Fold.open(row)
        _ = silent.begin(Keep.NOTHING)
        for at in range(0, len(messages), size):
            body = encode(messages[at : at + size])
            for some in fold.feed(at + 1, body, Keep.ALL):
                made += some
            for nothing in silent.feed(at + 1, body, Keep.NOTHING):
                assert nothing == []
            assert silent.number == fold.number == made[-1].number
        assert [event.number for event in made] == list(range(1, len(made) + 1))
        nodes.add(tuple(event.data for event in made if event.node_id is not None))
    assert len(nodes) == 1
