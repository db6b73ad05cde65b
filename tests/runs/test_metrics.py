"""What workers count. The numbers are the process's, so tests look at differences."""

from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries, service
from agentplat.runs.driver import Driver
from tests.support.conditions import until
from tests.support.drawing import GATE, SLOW, STEP, STORE, draw
from tests.support.gates import Gate
from tests.support.hosting import final
from tests.support.world import ANN, save, start

Count = Callable[..., float]


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


@pytest.fixture
def more() -> Count:
    """`more("name", label=…)`: by how much a number has grown in this test."""

    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"agentplat_{name}", labels) or 0

    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }

    def grown(name: str, **labels: str) -> float:
        return value(name, **labels) - samples.get((f"agentplat_{name}", *sorted(labels.items())), 0)

    return grown


async def test_a_run_is_counted_once_at_each_step_of_its_way(
    db: Database, redis: Redis, settings: Settings, more: Count
) -> None:
    graph = await save(draw({"l": (STEP, {"items": [1, 2, 3]}), "s": (STORE, {})}, "l.item -> s.input"))
    run = await start(graph)
    assert more("runs_accepted_total") == 1
    assert more("runs_started_total") == 0
    async with Driver(settings, sweeps=False) as driver:
        assert await driver.accept(run.id)
        await final(run)
    assert more("runs_started_total") == 1
    assert more("runs_finished_total", status="completed") == 1
    assert more("node_executions_total", status="completed") == 4
    assert more("node_seconds_total", phase="waited") > 0
    assert more("journal_rows_total") >= 1
    assert more("journal_bytes_total") > 100
    assert more("journal_commit_seconds_count") >= 1
    assert more("runs_hosted") == 0
    for phase in ("queued", "beginning", "working", "whole"):
        assert more("run_phase_seconds_count", phase=phase) == 1
    parts = sum(more("run_phase_seconds_sum", phase=phase) for phase in ("queued", "beginning", "working"))
    assert parts == pytest.approx(more("run_phase_seconds_sum", phase="whole"), abs=1e-5)


async def test_a_run_that_is_stopped_before_it_began(db: Database, redis: Redis, more: Count) -> None:
    run = await start(await save(draw({"s": (SLOW, {"v": 1, "delay": 60})})))
    await service.stop(ANN.id, run.graph_id, run.id)
    assert more("runs_finished_total", status="terminated") == 1
    assert more("run_phase_seconds_count", phase="whole") == 1
    assert more("run_phase_seconds_count", phase="beginning") == 0


async def test_what_wants_an_operators_attention(driver: Driver, db: Database, more: Count, gate: Gate) -> None:
    run = await start(await save(draw({"s": (GATE, {"path": gate.path})})))
    await driver.accept(run.id)  # unless its sweep was quicker
    await db.execute("UPDATE runs SET lease_owner = 'another', lease_until = now() - interval '1 second'")
    await until(lambda: more("runs_recovered_total"))
    gate.open()
    seen = await final(run)
    assert seen["status"] in ("FAILED", "COMPLETED")
    assert more("leases_lost_total") == 1
    assert more("runs_recovered_total") == 1
    assert await queries.find(run.id) is not None
