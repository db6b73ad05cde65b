"""Graphs that are deleted while runs of them go on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from agentplat.graphs.errors import GraphNotFound
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import bulk, listing, queries, removal, service
from agentplat.runs.driver import Driver
from agentplat.runs.models import BulkStart, RunMeta
from tests.support.conditions import until
from tests.support.drawing import REVIEW, SLOW, STORE, agent, draw
from tests.support.hosting import final, outcomes, reaching
from tests.support.locks import waiting
from tests.support.world import ANN, BOB, save, start

LONG = draw({"s": (SLOW, {"v": 1, "delay": 60})})


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


async def taken_below(driver: Driver, run: RunMeta) -> str:
    """The run that this one has started, once a worker has it."""

    async def found() -> list[str]:
        return [row.id for row in await listing.of_user(ANN.id, 100) or [] if row.parent_id == run.id]

    (below,) = await until(found)
    await driver.accept(below)
    return below


async def is_final(run_id: str) -> bool:
    return await queries.find_final([run_id]) == [run_id]


async def test_who_waits_for_a_run_of_it_waits_no_longer(driver: Driver) -> None:
    child = await save(LONG)
    drawing = draw({"ae": agent(child.id, child.version, {}, "", "out"), "s": (STORE, {})}, "ae.out -> s.input")
    parent = await save(drawing)
    run = await start(parent)
    await driver.accept(run.id)
    await taken_below(driver, run)
    assert (await removal.delete_graph(ANN, child.id)).version_counts == 1
    await driver.accept(run.id)
    seen = await final(run)
    assert seen["status"] == "COMPLETED"
    assert outcomes(seen, parent) == {"ae": [("COMPLETED", {})]}


async def test_what_its_runs_have_started_ends_with_them(driver: Driver) -> None:
    child = await save(LONG)
    parent = await save(draw({"ae": agent(child.id, child.version, {}, "", "")}))
    run = await start(parent)
    await driver.accept(run.id)
    below = await taken_below(driver, run)
    assert (await removal.delete_graph(ANN, parent.id)).version_counts == 1
    assert await queries.find(run.id) is None
    await until(lambda: is_final(below))
    left = await queries.find(below)
    assert left is not None
    assert left.status == "TERMINATED"
    await until(lambda: not driver._hosted)  # nor is the run that is gone worked on


async def test_runs_that_nobody_holds_are_no_hindrance(driver: Driver, db: Database) -> None:
    """One waits for a person, one for its turn, and one is hidden."""
    graph = await save(draw({"h": (REVIEW, {"name": "n", "data": 1})}))
    asking, hidden, _ = [await start(graph) for _ in range(3)]
    for run in (asking, hidden):
        await driver.accept(run.id)
        await reaching(run, "REVIEW")
    await service.delete(ANN.id, hidden.id)
    assert (await removal.delete_graph(BOB, graph.id)).version_counts == 0
    assert (await removal.delete_graph(ANN, graph.id)).version_counts == 1
    assert await db.fetchval("SELECT count(*) FROM runs") == 0


@pytest.mark.parametrize("alone", [True, False])
async def test_who_starts_a_run_meanwhile_finds_no_graph(driver: Driver, db: Database, alone: bool) -> None:
    """The run is drafted already when the graph goes, and waits for that to be stored."""
    graph = await save(LONG)

    async def begin() -> int:
        if not alone:
            (result,) = await bulk.start(ANN.id, [BulkStart(graph_id=graph.id)])
            return result.status
        with pytest.raises(GraphNotFound):
            await start(graph)
        return 404

    async with db.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("DELETE FROM graph_versions WHERE id = $1", graph.id)
        beginning = asyncio.create_task(begin())
        await until(lambda: waiting(db))
        await transaction.commit()
    assert await beginning == 404
    assert await db.fetchval("SELECT count(*) FROM runs") == 0


async def test_of_runs_that_start_while_their_graph_goes_none_is_left(driver: Driver, db: Database) -> None:
    graph = await save(LONG)

    async def begin() -> None:
        while True:
            try:
                await start(graph)
            except GraphNotFound:
                return

    starting = [asyncio.create_task(begin()) for _ in range(4)]
    await until(lambda: db.fetchval("SELECT count(*) > 10 FROM runs"))
    assert (await removal.delete_graph(ANN, graph.id)).version_counts == 1
    await asyncio.gather(*starting)
    assert await db.fetchval("SELECT count(*) FROM runs") == 0
