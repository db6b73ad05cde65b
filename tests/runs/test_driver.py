"""Runs hosted in this process, on the real database and Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.engine.messages import Message, NodeEnded, NodeStarted, NodeYielded, RunBegan, decode, encode
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import commits, queries, service, turns
from agentplat.runs.commits import Write
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunMeta
from agentplat.runs.nodes import now_us
from agentplat.runs.reading import INTERRUPTED
from tests.support.conditions import until
from tests.support.drawing import (
    CALCULATOR,
    CONDITION,
    EFFECT,
    GATE,
    REPEATABLE,
    SLOW,
    SPILL,
    STEP,
    STORE,
    Drawing,
    draw,
)
from tests.support.gates import Gate
from tests.support.hosting import final, look, outcomes, reaching
from tests.support.world import ANN, save, start

OVER = timedelta(seconds=-1)


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


async def journal_of(run_id: str) -> list[Message]:
    row = await queries.find(run_id)
    assert row is not None
    segments = await queries.read_journal(row.id, row.created_at.astimezone(UTC).date())
    return [message for segment in segments for message in decode(segment.body)]


def effect(path: Path, **more: Any) -> Drawing:
    return draw({"e": (EFFECT, {"path": str(path), "v": 7, **more}), "s": (STORE, {})}, "e.out -> s.input")


async def test_a_pure_run_is_few_commits(driver: Driver) -> None:
    """As many as it has slices of time, not as many as it has nodes."""
    chain = draw(
        {f"n{n}": (STORE, {"input": 1} if n == 0 else {}) for n in range(200)},
        *(f"n{n}.output -> n{n + 1}.input" for n in range(199)),
    )
    run = await start(await save(chain))
    await driver.accept(run.id)  # unless its sweep was quicker
    seen = await final(run)
    assert seen["stats"]["node_exec_count"] == 200
    row = await queries.find(run.id)
    assert row is not None
    assert len(await queries.read_journal(run.id, row.created_at.astimezone(UTC).date())) < 40


async def test_a_run_is_hosted_once_however_often_it_is_offered(
    db: Database, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    graph = await save(effect(tmp_path / "log", delay=0.1))
    run = await start(graph)
    async with Driver(settings, sweeps=False) as driver:
        assert sorted(await asyncio.gather(*(driver.accept(run.id) for _ in range(5)))) == [False] * 4 + [True]
        assert (await final(run))["status"] == "COMPLETED"
        assert not await driver.accept(run.id)
    assert len((tmp_path / "log").read_text().splitlines()) == 2


async def test_effects_begin_after_their_start_is_committed(driver: Driver, db: Database, tmp_path: Path) -> None:
    """While the database doesn't take the row, the effect must not happen."""
    graph = await save(effect(tmp_path / "log"))
    run = await start(graph)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'journal'::regclass"
    async with db.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
        await driver.accept(run.id)  # unless its sweep was quicker
        await until(lambda: connection.fetchval(waiting))
        assert not (tmp_path / "log").exists()
    assert (await final(run))["status"] == "COMPLETED"
    assert (tmp_path / "log").exists()


async def test_an_endless_cycle_ends_at_the_limit(db: Database, redis: Redis, settings: Settings) -> None:
    graph = await save(
        draw(
            {
                "a": (STORE, {"input": 0}),
                "c": (CALCULATOR, {"operation": "Add", "b": 1}),
                "k": (CONDITION, {"operator": "<", "value2": -1}),
            },
            "a.output -> c.a",
            "c.result -> k.value1",
            "k.no_output -> c.a",
            "k.yes_output -> c.a",
        )
    )
    # value2 is what goes round: -1 < -1 is false, so it never ends by itself.
    async with Driver(replace(settings, max_node_executions=500)) as driver:
        run = await start(graph)
        await driver.accept(run.id)
        seen = await final(run)
    assert seen["status"] == "FAILED"
    assert "more than 500 node executions" in seen["stats"]["error"]
    assert 400 < seen["stats"]["node_exec_count"] <= 501


async def test_a_run_ends_at_its_deadline(driver: Driver, db: Database) -> None:
    graph = await save(draw({"s": (SLOW, {"v": 1, "delay": 60}), "after": (STORE, {})}, "s.out -> after.input"))
    run = await start(graph)
    await db.execute("UPDATE runs SET deadline = now() + interval '0.3 seconds' WHERE id = $1", run.id)
    await driver.accept(run.id)
    seen = await final(run)
    assert seen["status"] == "FAILED"
    assert "not finished by its deadline" in seen["stats"]["error"]
    assert outcomes(seen, graph) == {"s": [("TERMINATED", {})]}


async def test_a_stop_reaches_a_running_block(driver: Driver) -> None:
    drawing = draw(
        {
            "quick": (SLOW, {"v": 1, "delay": 0.05}),
            "n1": (STORE, {}),
            "long": (SLOW, {"v": 1, "delay": 60}),
            "n2": (STORE, {}),
        },
        "quick.out -> n1.input",
        "long.out -> n2.input",
    )
    graph = await save(drawing)
    run = await start(graph)
    await driver.accept(run.id)

    async def quick_is_over() -> bool:
        return outcomes(await look(run), graph).get("n1") == [("COMPLETED", {"output": [1]})]

    await until(quick_is_over)
    stopped = await service.stop(ANN.id, graph.id, run.id)
    assert stopped is not None
    assert stopped.status == "TERMINATED"
    seen = await final(run)
    assert outcomes(seen, graph) == {
        "long": [("TERMINATED", {})],
        "quick": [("COMPLETED", {"out": [1]})],
        "n1": [("COMPLETED", {"output": [1]})],
    }
    assert seen["stats"]["node_exec_count"] == 3
    assert next(one for one in seen["node_executions"] if one["status"] == "TERMINATED")["end_time"] is None


async def test_a_run_that_nobody_holds_is_stopped_all_the_same(db: Database, redis: Redis) -> None:
    graph = await save(draw({"a": (STORE, {"input": 1})}))
    queued, abandoned = await start(graph), await start(graph)
    assert await turns.claim(abandoned.id, "a worker that died", OVER, now())
    for run in (queued, abandoned):
        stopped = await service.stop(ANN.id, graph.id, run.id)
        assert stopped is not None
        assert stopped.status == "TERMINATED"
        assert stopped.ended_at is not None
        assert await service.stop(ANN.id, graph.id, run.id) is None
        assert outcomes(await look(run), graph) == {"a": [("TERMINATED", {})]}


class DeadWorker:
    """Leaves a run behind as a worker does that was killed: claimed, with these messages in the journal."""

    def __init__(self, run: RunMeta) -> None:
        self.run = run

    async def left(self, *messages: Message) -> None:
        row = await turns.claim(self.run.id, "dead", OVER, now())
        assert row is not None
        day = row.created_at.astimezone(UTC).date()
        await queries.ensure_partition(day)
        body = encode(messages)
        committed = await commits.commit([Write(run_id=row.id, run_day=day, seq=1, fence=1, body=body)], "dead")
        assert committed.held == {(row.id, 1)}


async def test_an_effect_of_unknown_outcome_is_not_repeated(driver: Driver, tmp_path: Path) -> None:
    drawing = draw(
        {"e": (EFFECT, {"path": str(tmp_path / "log"), "v": 7}), "s": (STORE, {}), "err": (STORE, {})},
        "e.out -> s.input",
        "e.error -> err.input",
    )
    graph = await save(drawing)
    run = await start(graph)
    await DeadWorker(run).left(RunBegan(now_us()), NodeStarted(1, now_us()))
    await driver.accept(run.id)  # unless its sweep was quicker
    seen = await final(run)
    text = f"raised by EffectBlock with message: {INTERRUPTED}. block_id: {EFFECT}"
    assert seen["status"] == "COMPLETED"
    assert outcomes(seen, graph) == {"e": [("FAILED", {"error": [text]})], "err": [("COMPLETED", {"output": [text]})]}
    assert not (tmp_path / "log").exists()


async def test_a_repeatable_effect_is_run_again_under_the_same_key(driver: Driver, tmp_path: Path) -> None:
    graph = await save(draw({"e": (REPEATABLE, {"path": str(tmp_path / "log"), "v": 7})}))
    run = await start(graph)
    await DeadWorker(run).left(RunBegan(now_us()), NodeStarted(1, now_us()))
    await driver.accept(run.id)
    seen = await final(run)
    assert outcomes(seen, graph) == {"e": [("COMPLETED", {"out": [7]})]}
    key = seen["node_executions"][0]["node_exec_id"]
    assert (tmp_path / "log").read_text().splitlines() == [f"begun {key}", f"done {key}"]


async def test_recorded_outputs_are_not_recorded_or_routed_again(driver: Driver) -> None:
    graph = await save(draw({"p": (SPILL, {"count": 4}), "s": (STORE, {})}, "p.n -> s.input"))
    run = await start(graph)
    at = now_us()
    await DeadWorker(run).left(
        RunBegan(at), NodeStarted(1, at), NodeYielded(1, at, [("n", 0)]), NodeYielded(1, at, [("n", 1)])
    )
    await driver.accept(run.id)
    seen = await final(run)
    done = outcomes(seen, graph)
    assert done["p"] == [("COMPLETED", {"n": [0, 1, 2, 3]})]
    assert done["s"] == [("COMPLETED", {"output": [n]}) for n in range(4)]


async def test_recovery_goes_on_behind_the_last_recorded_outcome(driver: Driver) -> None:
    drawing = draw(
        {"st": (STEP, {"items": [1, 2, 3]}), "b": (STORE, {}), "c": (STORE, {})},
        "st.item -> b.input",
        "b.output -> c.input",
    )
    graph = await save(drawing)
    run = await start(graph)
    at = now_us()
    begun: list[tuple[str, Any]] = [("item", 1), ("key", 0), ("item", 2), ("key", 1), ("item", 3), ("key", 2)]
    await DeadWorker(run).left(
        RunBegan(at), NodeEnded(1, at, begun, None, at), NodeEnded(2, at, [("output", 1)], None, at)
    )
    await driver.accept(run.id)
    seen = await final(run)
    assert [state for state, _ in outcomes(seen, graph)["c"]] == ["COMPLETED"] * 3
    messages = await journal_of(run.id)
    ended = [message.activation for message in messages if isinstance(message, NodeEnded)]
    assert len(ended) == len(set(ended)) == 7


async def test_a_worker_that_stops_hands_its_runs_back(
    db: Database, redis: Redis, settings: Settings, gate: Gate
) -> None:
    graph = await save(draw({"s": (GATE, {"path": gate.path, "v": 1}), "after": (STORE, {})}, "s.out -> after.input"))
    run = await start(graph)
    async with Driver(settings) as first:
        await first.accept(run.id)

        async def begun() -> bool:
            return bool(outcomes(await look(run), graph))

        await until(begun)
    row = await queries.find(run.id)
    assert row is not None
    assert row.status == "RUNNING"
    gate.open()
    async with Driver(settings) as second:
        await second.accept(run.id)  # unless its sweep was quicker
        seen = await final(run)
    assert outcomes(seen, graph)["after"] == [("COMPLETED", {"output": [1]})]


async def test_the_sweep_finds_a_run_whose_job_got_lost(db: Database, redis: Redis, settings: Settings) -> None:
    graph = await save(draw({"a": (STORE, {"input": 1})}))
    run = await start(graph)
    await db.execute("UPDATE runs SET created_at = now() - interval '1 minute' WHERE id = $1", run.id)
    async with Driver(settings):
        assert (await final(run))["status"] == "COMPLETED"


async def test_a_run_whose_graph_uses_an_unknown_block_fails_and_says_so(driver: Driver, db: Database) -> None:
    graph = await save(draw({"a": (STORE, {"input": 1})}))
    run = await start(graph)
    missing = "11111111-1111-4111-8111-111111111111"
    await db.execute(
        """
        INSERT INTO graph_versions (id, version, user_id, name, description, is_active, body)
        SELECT id, 2, user_id, name, description, false, replace(encode(body, 'escape'), $2, $3)::bytea
        FROM graph_versions WHERE id = $1
        """,
        graph.id,
        STORE,
        missing,
    )
    await db.execute("UPDATE runs SET graph_version = 2 WHERE id = $1", run.id)
    await driver.accept(run.id)
    await reaching(run, "FAILED")
    row = await queries.find(run.id)
    assert row is not None
    assert row.stats is not None
    assert missing in row.stats.decode()


async def test_many_runs_at_once(driver: Driver) -> None:
    drawing = draw({"st": (STEP, {"items": list(range(20))}), "b": (STORE, {})}, "st.item -> b.input")
    graph = await save(drawing)
    started = [await start(graph) for _ in range(40)]
    await asyncio.gather(*(driver.accept(run.id) for run in started))
    for run in started:
        seen = await final(run)
        assert seen["status"] == "COMPLETED"
        assert seen["stats"]["node_exec_count"] == 21


async def test_a_run_outlives_cut_database_connections(driver: Driver, db: Database) -> None:
    graph = await save(draw({"p": (SPILL, {"count": 40, "delay": 0.02}), "s": (STORE, {})}, "p.n -> s.input"))
    run = await start(graph)
    await driver.accept(run.id)
    admin = await asyncpg.connect(db.pool._connect_args[0])
    for _ in range(4):
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.15)  # the run goes on before the next cut
    await admin.close()

    async def is_over() -> bool:
        with suppress(*queries.DATABASE_AWAY):
            row = await queries.find(run.id)
            return row is not None and row.node_executions is not None
        return False

    await until(is_over)
    seen = await final(run)
    assert seen["status"] == "COMPLETED"
    assert outcomes(seen, graph)["s"] == [("COMPLETED", {"output": [n]}) for n in range(40)]


async def test_a_worker_that_slept_past_its_lease_takes_its_own_run_again(driver: Driver, db: Database) -> None:
    """The old hosting ends, the new one is kept: renewed, heard of stops, and let go of once."""
    graph = await save(draw({"p": (SPILL, {"count": 30, "delay": 0.02}), "s": (STORE, {})}, "p.n -> s.input"))
    run = await start(graph)
    await driver.accept(run.id)

    async def under_way() -> bool:
        return len(outcomes(await look(run), graph).get("s", [])) >= 3

    await until(under_way)
    first = driver._hosted[run.id]
    await db.execute("UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = $1", run.id)

    async def taken_again() -> bool:
        await driver.accept(run.id)
        return driver._hosted.get(run.id) not in (first, None)

    await until(taken_again)
    seen = await final(run)
    assert outcomes(seen, graph)["s"] == [("COMPLETED", {"output": [n]}) for n in range(30)]
    await until(lambda: not (driver._tasks or driver._hosted))
