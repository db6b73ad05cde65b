"""The workers' bell: a run that waits begins at once, on a worker that has room, and a lost ring is made up for."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.graphs import service as graphs
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import acceptance, control, insertion, jobs, queries, view
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunRequest
from tests.support.conditions import connections_at, cut_from_redis, until
from tests.support.drawing import SLOW, STORE, draw
from tests.support.hosting import reaching
from tests.support.world import ANN, save, start

BELL = "agentplat:bell"
QUICK = draw({"a": (STORE, {"input": 1})})
LASTING = draw({"s": (SLOW, {"v": 1, "delay": 60})})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, lease_seconds=1800)


async def test_a_ring_reaches_a_worker_that_has_room(db: Database, redis: Redis, settings: Settings) -> None:
    """One of two workers is full and answers nothing."""
    lasting, quick = await save(LASTING), await save(QUICK)
    small = replace(settings, worker_concurrency=1)
    async with (
        Driver(small, sweeps=False) as full,
        Driver(settings, sweeps=False) as idle,
        jobs.answering(full),
    ):
        await reaching(await start(lasting), "RUNNING")
        async with jobs.answering(idle):
            for _ in range(20):
                await reaching(await start(quick), "COMPLETED")


async def test_all_rings_are_answered_when_they_come_at_once(db: Database, redis: Redis, settings: Settings) -> None:
    graphs_of_ann = [await save(QUICK) for _ in range(3)]
    async with (
        Driver(settings, sweeps=False) as one,
        Driver(settings, sweeps=False) as two,
        jobs.answering(one),
        jobs.answering(two),
    ):
        runs = await asyncio.gather(*(start(graphs_of_ann[n % 3]) for n in range(60)))
        for run in runs:
            await reaching(run, "COMPLETED")
    rows = [await queries.find(run.id) for run in runs]
    assert {row.fence for row in rows if row is not None} == {1}


async def test_a_worker_that_has_no_room_rings_for_others(db: Database, redis: Redis, settings: Settings) -> None:
    async with Driver(replace(settings, worker_concurrency=2), sweeps=False) as full:
        for _ in range(4):
            await start(await save(LASTING))
        await redis.delete(BELL)
        full.look(4)
        assert await control.answer(10) == 2


async def test_a_worker_that_ends_rings_for_others(db: Database, redis: Redis, settings: Settings) -> None:
    async with Driver(settings, sweeps=False) as one:
        async with jobs.answering(one):
            assert await redis.llen(BELL) == 0
        assert await redis.llen(BELL) == 1


async def test_rings_that_nobody_answers_are_not_kept_for_ever(redis: Redis) -> None:
    for _ in range(3):
        await control.ring(10**6)
    assert await redis.llen(BELL) == control.MAX_RINGS
    assert await control.answer(8) == 8


async def test_a_lost_ring_is_made_up_for_by_the_sweep(db: Database, redis: Redis, settings: Settings) -> None:
    graph = await save(QUICK)
    async with Driver(settings) as one, jobs.answering(one):
        await reaching(await start(graph), "COMPLETED")
        # Accepted by a process that died before it rang.
        version = await graphs.load(graph.id, graph.version)
        lost = await acceptance.draft(str(uuid4()), ANN.id, version, RunRequest(), now(), now() + timedelta(minutes=1))
        await insertion.insert(lost)
        await reaching(view.stored_meta(lost), "COMPLETED")


async def test_a_bell_that_was_away_is_answered_again(db: Database, redis: Redis, settings: Settings) -> None:
    graph = await save(QUICK)
    async with Driver(settings, sweeps=False) as one, jobs.answering(one):
        await until(lambda: connections_at(redis, "blmpop"))
        assert await cut_from_redis(redis, "normal")
        await reaching(await start(graph), "COMPLETED")


async def test_statements_that_are_cut_off_leave_their_connections_to_nobody(
    db: Database, redis: Redis, settings: Settings
) -> None:
    """A worker that ends cuts off what it was asking. A connection that went back into the pool at such a moment would
    hang, or hold a lock, for whoever got it next."""
    for _ in range(60):
        async with Driver(settings) as one, jobs.answering(one):
            pass
        async with asyncio.timeout(10):
            await db.execute("TRUNCATE runs CASCADE")
