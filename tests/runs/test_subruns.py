"""Agents that run agents: A22 and A23, stops, depth, crashes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.engine.messages import RunBegan
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import ending, listing, queries, service, subruns, turns, view
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunMeta, RunRequest, RunRow
from agentplat.runs.replay import machine_of
from tests.support.conditions import until
from tests.support.drawing import AGENT, GATE, INPUT, OUTPUT, SLOW, STEP, STORE, agent, draw
from tests.support.gates import Gate
from tests.support.hosting import FINAL, final, look, outcomes, reaching
from tests.support.world import ANN, BOB, save, start

CHILD = draw(
    {
        "ci": (INPUT, {"name": "q"}),
        "cd": (INPUT, {"name": "d"}),
        "cs": (STEP, {"items": [1, 2]}),
        "o1": (OUTPUT, {"name": "ans", "format": "<{{ans}}>"}),
        "o2": (OUTPUT, {"name": "num"}),
    },
    "ci.result -> o1.value",
    "cs.item -> o2.value",
)


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


async def hosted(driver: Driver, run: RunMeta) -> None:
    """Do what the queue does, for the run and what it starts: offer them all until nothing is left to take."""
    await driver.accept(run.id)


async def listed() -> list[RunRow]:
    return await listing.of_user(ANN.id, 100) or []


async def child_of(run: RunMeta) -> RunMeta:
    async def there() -> RunMeta | None:
        return next((view.stored_meta(row) for row in await listed() if row.parent_id == run.id), None)

    child = await until(there)
    assert child is not None
    return child


async def take_all(driver: Driver, run: RunMeta) -> dict[str, Any]:
    """Drive a run and all runs below it to their ends."""
    stop = asyncio.Event()

    async def offer() -> None:
        while not stop.is_set():
            for row in await listed():
                if row.status == "QUEUED":
                    await driver.accept(row.id)
            await asyncio.sleep(0.01)

    offering = asyncio.create_task(offer())
    try:
        return await final(run)
    finally:
        stop.set()
        await offering


async def test_outputs_come_back_in_order_and_are_counted(driver: Driver) -> None:
    child = await save(CHILD)
    parent = await save(
        draw(
            {
                "src": (STORE, {"input": "P"}),
                "ae": agent(child.id, child.version, {"d": "dflt"}, "q d", "ans num"),
                "A": (STORE, {}),
                "N": (STORE, {}),
            },
            "src.output -> ae.q",
            "ae.ans -> A.input",
            "ae.num -> N.input",
        )
    )
    run = await start(parent)
    seen = await take_all(driver, run)
    assert seen["status"] == "COMPLETED"
    done = outcomes(seen, parent)
    assert done["ae"] == [("COMPLETED", {"num": [1, 2], "ans": ["<P>"]})]
    assert done["A"] == [("COMPLETED", {"output": ["<P>"]})]
    assert done["N"] == [("COMPLETED", {"output": [1]}), ("COMPLETED", {"output": [2]})]
    assert seen["stats"]["node_exec_count"] == 11
    (ae,) = [one for one in seen["node_executions"] if one["block_id"] == AGENT]
    assert ae["input_data"] == {"d": "dflt", "q": "P"}
    below = await look(await child_of(run))
    assert below["inputs"] == {"d": "dflt", "q": "P"}
    assert below["outputs"] == {"ans": ["P"], "num": [1, 2]}
    assert below["stats"]["node_exec_count"] == 6


async def test_an_output_named_error_fails_the_node_and_stops_the_child(driver: Driver) -> None:
    child = await save(
        draw(
            {
                "i": (INPUT, {"name": "q"}),
                "o": (OUTPUT, {"name": "error"}),
                "long": (SLOW, {"v": 1, "delay": 60}),
            },
            "i.result -> o.value",
        )
    )
    parent = await save(draw({"ae": agent(child.id, child.version, {"q": "P"}, "q", "error")}))
    run = await start(parent)
    seen = await take_all(driver, run)
    text = f"raised by AgentExecutorBlock with message: P. block_id: {AGENT}"
    assert outcomes(seen, parent)["ae"] == [("FAILED", {"error": [text]})]
    assert (await reaching(await child_of(run), "TERMINATED"))["status"] == "TERMINATED"


@pytest.mark.parametrize("whose", ["nobody's", "somebody else's"])
async def test_a_graph_that_is_not_ones_own_can_not_be_run(driver: Driver, whose: str) -> None:
    """Other branches go on, and nobody can tell whether the graph exists."""
    graph_id = "11111111-1111-4111-8111-111111111111" if whose == "nobody's" else (await save(CHILD, BOB)).id
    parent = await save(
        draw(
            {"ae": agent(graph_id, 1, {}, "q", "ans"), "e": (STORE, {}), "other": (STORE, {"input": 9})},
            "ae.ans -> e.input",
        )
    )
    seen = await take_all(driver, await start(parent))
    assert seen["status"] == "COMPLETED"
    done = outcomes(seen, parent)
    assert done["other"] == [("COMPLETED", {"output": [9]})]
    ((status, output),) = done["ae"]
    assert status == "FAILED"
    assert f"Graph #{graph_id} not found." in output["error"][0]


async def test_a_stop_reaches_the_whole_tree(driver: Driver) -> None:
    leaf = await save(draw({"s": (SLOW, {"v": 1, "delay": 60})}))
    middle = await save(draw({"ae": agent(leaf.id, leaf.version, {}, "", "")}))
    top = await save(draw({"ae": agent(middle.id, middle.version, {}, "", "")}))
    run = await start(top)
    await driver.accept(run.id)
    second = await child_of(run)
    await driver.accept(second.id)
    third = await child_of(second)
    await driver.accept(third.id)
    await reaching(third, "RUNNING")
    stopped = await service.stop(ANN.id, top.id, run.id)
    assert stopped is not None
    for one in (run, second, third):
        assert (await reaching(one, "TERMINATED"))["status"] == "TERMINATED"


async def test_the_end_of_a_stopped_sub_run_completes_nothing(db: Database, redis: Redis, settings: Settings) -> None:
    """Though the parent learns of it before it learns that it is to stop itself."""
    child = await save(draw({"s": (SLOW, {"v": 1, "delay": 60})}))
    parent = await save(draw({"ae": agent(child.id, child.version, {}, "", "")}))
    run = await start(parent)
    async with Driver(replace(settings, worker_concurrency=1)) as driver:
        await driver.accept(run.id)
        below = await child_of(run)
        assert set(await queries.request_stop(ANN.id, [run.id], now())) == {run.id, below.id}
        assert await ending.terminate([below.id])
        seen = await final(run)
    assert seen["status"] == "TERMINATED"
    assert outcomes(seen, parent)["ae"] == [("TERMINATED", {})]


async def test_who_has_lost_a_run_starts_nothing_below_it(db: Database, settings: Settings) -> None:
    """Nor does who is to stop it; who holds it now does, once."""
    child = await save(CHILD)
    run = await start(await save(draw({"ae": agent(child.id, child.version, {"q": "P"}, "q", "ans")})))
    over = await turns.claim(run.id, "w1", timedelta(seconds=-1), now())
    held = await turns.claim(run.id, "w2", timedelta(seconds=30), now())
    assert over is not None
    assert held is not None
    machine = await machine_of(held)
    machine.feed(RunBegan(1))
    (act,) = machine.activations

    async def below() -> int:
        return int(await db.fetchval("SELECT count(*) FROM runs WHERE parent_id = $1", run.id))

    await subruns.start(over, RunRequest(), act)
    assert await below() == 0
    await db.execute("UPDATE runs SET stop_requested_at = now() WHERE id = $1", run.id)
    await subruns.start(held, RunRequest(), act)
    assert await below() == 0
    await db.execute("UPDATE runs SET stop_requested_at = NULL WHERE id = $1", run.id)
    await asyncio.gather(*(subruns.start(held, RunRequest(), act) for _ in range(3)))
    assert await below() == 1


async def test_agents_that_run_in_circles_end(driver: Driver, db: Database) -> None:
    graph = await save(draw({"ae": agent("11111111-1111-4111-8111-111111111111", 1, {}, "", "")}))
    await db.execute(
        "UPDATE graph_versions SET body = replace(encode(body, 'escape'), $2, id)::bytea WHERE id = $1",
        graph.id,
        "11111111-1111-4111-8111-111111111111",
    )
    seen = await take_all(driver, await start(graph))
    assert seen["status"] == "COMPLETED"
    rows = await listed()
    assert max(row.depth for row in rows) == subruns.MAX_DEPTH
    (deepest,) = [row for row in rows if row.depth == subruns.MAX_DEPTH]
    stored = await queries.find(deepest.id)
    assert stored is not None
    assert b"more than 16 levels deep" in (stored.node_executions or b"")


async def test_a_waiting_parent_is_let_go_and_comes_back(driver: Driver, db: Database, gate: Gate) -> None:
    """It holds no place while its sub-run takes its time, and the letters that come meanwhile bring it back."""
    child = await save(
        draw(
            {"s": (GATE, {"v": "late", "path": gate.path}), "o": (OUTPUT, {"name": "ans"})},
            "s.out -> o.value",
        )
    )
    parent = await save(
        draw({"ae": agent(child.id, child.version, {}, "", "ans"), "A": (STORE, {})}, "ae.ans -> A.input")
    )
    run = await start(parent)
    await driver.accept(run.id)
    below = await child_of(run)
    await driver.accept(below.id)
    await until(lambda: db.fetchval("SELECT parked FROM mailboxes WHERE run_id = $1", run.id))
    await until(lambda: run.id not in driver._hosted)
    assert await db.fetchval("SELECT lease_until IS NULL FROM runs WHERE id = $1", run.id)
    gate.open()
    seen = await final(run)
    assert outcomes(seen, parent)["A"] == [("COMPLETED", {"output": ["late"]})]
    # The mailbox is closed after the end is committed.
    await until(lambda: db.fetchval("SELECT count(*) = 0 FROM mail"))


async def test_a_parent_whose_worker_dies_finds_its_sub_run_and_its_mail(
    db: Database, redis: Redis, settings: Settings
) -> None:
    """The sub-run ends while nobody holds the parent. Nothing is started or taken twice."""
    child = await save(CHILD)
    parent = await save(
        draw({"ae": agent(child.id, child.version, {"q": "P"}, "q", "num"), "N": (STORE, {})}, "ae.num -> N.input")
    )
    run = await start(parent)
    async with Driver(settings) as first:
        await first.accept(run.id)
        below = await child_of(run)
        task = first._tasks[run.id]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await db.execute("UPDATE runs SET lease_owner = 'gone' WHERE id = $1", run.id)
        await first.accept(below.id)
        await final(below)
        await db.execute("UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = $1", run.id)
    async with Driver(settings) as second:
        await second.accept(run.id)
        seen = await final(run)
    assert outcomes(seen, parent)["N"] == [("COMPLETED", {"output": [1]}), ("COMPLETED", {"output": [2]})]
    assert len([row for row in await listed() if row.parent_id == run.id]) == 1


async def test_a_sub_run_that_can_not_be_driven_ends_its_parents_wait(
    db: Database, redis: Redis, settings: Settings
) -> None:
    child = await save(CHILD)
    parent = await save(draw({"ae": agent(child.id, child.version, {}, "q", "ans")}))
    run = await start(parent)
    async with Driver(settings, sweeps=False) as driver:
        await driver.accept(run.id)
        below = await child_of(run)
        row = await turns.claim(below.id, driver.owner, timedelta(seconds=30), now())
        assert row is not None
        await driver._fail(row, "its graph is gone")

        async def is_over() -> bool:
            await driver.accept(run.id)  # it may have been let go of
            found = await queries.find(run.id)
            return found is not None and found.status in FINAL

        await until(is_over)
    seen = await look(run)
    assert seen["status"] == "COMPLETED"
    assert outcomes(seen, parent)["ae"] == [("COMPLETED", {})]
