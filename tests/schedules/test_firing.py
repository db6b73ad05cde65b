"""What one look of a scheduler does, on the real database: runs, history, refusals, downtime."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from agentplat.graphs import service as graphs
from agentplat.graphs.models import GraphModel
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.runs import service as runs
from agentplat.schedules import firing, queries, service
from agentplat.schedules.models import CreateSchedule, MissedRuns, Outcome, Schedule
from tests.support.conditions import until
from tests.support.drawing import INPUT, OUTPUT, STORE, draw
from tests.support.locks import waiting
from tests.support.processes import agentplat, environment
from tests.support.statements import said
from tests.support.switches import environment_of
from tests.support.world import ANN, BOB, save

pytestmark = pytest.mark.usefixtures("redis")

HOUR = timedelta(hours=1)
ECHO = draw(
    {"in": (INPUT, {"name": "said", "value": ""}), "out": (OUTPUT, {"name": "heard"})}, "in.result -> out.value"
)
# Far from now, so that nothing fires by itself.
NINE = datetime(2031, 1, 1, 9, tzinfo=UTC)


async def scheduled(graph: GraphModel, due: datetime, cron: str = "0 * * * *", **members: Any) -> Schedule:
    """A schedule that is due at that time next."""
    user = members.pop("user", ANN)
    body = CreateSchedule(name="test", cron=cron, inputs={"said": "hi"}, timezone="UTC", **members)
    made = await service.create(user, graph.id, body)
    await set_due(made, due)
    return made


async def set_due(schedule: Schedule, due: datetime) -> None:
    await queries.db().execute("UPDATE schedules SET next_run_at = $2 WHERE id = $1", schedule.id, due)


async def history(schedule: Schedule) -> list[tuple[datetime, Outcome, str | None]]:
    """Oldest first: for when, with which outcome, and the reason where there is no run."""
    found = (await service.firings(ANN, schedule.id, None, 100)).firings
    return [(one.scheduled_at, one.outcome, one.code) for one in reversed(found)]


async def test_a_firing_is_a_run_like_any_other(db: Database, redis: Redis) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    assert not await firing.fire_due(NINE - timedelta(milliseconds=1))
    assert await runs.list_(ANN.id) == []
    assert not await firing.fire_due(NINE)
    (run,) = await runs.list_(ANN.id)
    assert (run.graph_id, run.graph_version, run.status) == (schedule.graph_id, 1, "QUEUED")
    assert run.inputs is not None
    shown = await service.get(ANN, schedule.id)
    assert (shown.last_run_time, shown.last_run_id, shown.last_outcome) == (NINE, run.id, Outcome.STARTED)
    assert shown.next_run_time == NINE + HOUR
    (one,) = (await service.firings(ANN, schedule.id, None, 10)).firings
    assert (one.scheduled_at, one.run_id, one.outcome, one.error) == (NINE, run.id, Outcome.STARTED, None)
    assert await redis.llen("agentplat:bell") == 1
    await firing.fire_due(NINE)
    assert len(await runs.list_(ANN.id)) == 1


async def test_history_comes_in_pages(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    for hour in range(5):
        await firing.fire_due(NINE + hour * HOUR)
    pages, before = [], None
    while True:
        page = await service.firings(ANN, schedule.id, before, 2)
        pages.append([one.scheduled_at for one in page.firings])
        if (before := page.next_before) is None:
            break
    assert pages == [[NINE + 4 * HOUR, NINE + 3 * HOUR], [NINE + 2 * HOUR, NINE + HOUR], [NINE]]


async def test_many_at_once_are_shared_without_a_repeat(db: Database) -> None:
    graph = await save(ECHO)
    for _ in range(3 * firing.BATCH):
        await scheduled(graph, NINE)

    async def drain() -> None:
        while await firing.fire_due(NINE) or await queries.next_due() == NINE:
            pass

    await asyncio.gather(*(drain() for _ in range(4)))
    assert await db.fetchval("SELECT count(*) FROM runs") == 3 * firing.BATCH
    assert await db.fetchval("SELECT count(DISTINCT run_id) FROM schedule_firings") == 3 * firing.BATCH


async def test_an_idle_look_and_a_batch_cost_few_statements(db: Database) -> None:
    graph = await save(ECHO)
    for _ in range(firing.BATCH - 1):
        await scheduled(graph, NINE)
    with said() as statements:
        await firing.fire_due(NINE - HOUR)
        await queries.next_due()
    assert len(statements) == 3
    with said() as statements:
        await firing.fire_due(NINE)
    # The claim, and its time limit; per run its access and its row; the history and the advance.
    assert len(statements) == 2 + 2 * (firing.BATCH - 1) + 2


async def test_the_claim_reads_only_what_is_due(db: Database) -> None:
    graph = await save(ECHO)
    schedule = await scheduled(graph, NINE)
    await db.execute(
        """
        INSERT INTO schedules (id, user_id, graph_id, graph_version, name, cron, timezone, missed_runs, request,
                               next_run_at, pause_reason, created_at, updated_at)
        SELECT n::text, user_id, graph_id, graph_version, name, cron, timezone, missed_runs, request,
               CASE WHEN n % 2 = 0 THEN next_run_at + n * interval '1 minute' END,
               CASE WHEN n % 2 = 1 THEN 'paused' END, created_at, updated_at
        FROM schedules, generate_series(1, 20000) n WHERE id = $1
        """,
        schedule.id,
    )
    await db.execute("ANALYZE schedules, graph_versions")
    explain = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF)"
    for statement, arguments in (
        (f"{explain} {queries.claim_sql()}", (NINE + HOUR, firing.BATCH)),
        (f"{explain} SELECT min(next_run_at) FROM schedules WHERE next_run_at IS NOT NULL", ()),
    ):
        plan = "\n".join(row[0] for row in await db.fetch(statement, *arguments))
        assert "schedules_due" in plan
        assert "Seq Scan on schedules" not in plan
        assert "Sort" not in plan
        (found,) = [line for line in plan.splitlines() if "schedules_due" in line]
        assert int(float(found.split("actual rows=")[1].split()[0])) <= firing.BATCH


# What is refused


async def test_refusals_are_history_and_do_not_end_a_schedule(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    other = await scheduled(await save(ECHO, BOB), NINE, user=BOB)
    with environment_of(ENABLE_CREDIT="true"):
        await firing.fire_due(NINE)
    assert await history(schedule) == [(NINE, Outcome.FAILED, "insufficient_balance")]
    shown = await service.get(ANN, schedule.id)
    assert (shown.last_outcome, shown.last_run_id, shown.paused) == (Outcome.FAILED, None, False)
    with environment_of(AGENTPLAT_MAX_QUEUED_PER_USER="1"):
        await firing.fire_due(NINE + HOUR)
        await firing.fire_due(NINE + 2 * HOUR)
    assert [outcome for _, outcome, _ in await history(schedule)] == [Outcome.FAILED, Outcome.STARTED, Outcome.FAILED]
    assert (await history(schedule))[-1][2] == "too_many_waiting"
    assert len(await runs.list_(BOB.id)) == 1
    assert (await service.get(BOB, other.id)).last_run_time == NINE + 2 * HOUR


async def test_what_became_unusable_says_why(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    needy = await save(draw({"s": (STORE, {})}))
    await db.execute("UPDATE schedules SET graph_id = $1", needy.id)
    await firing.fire_due(NINE)
    (one,) = (await service.firings(ANN, schedule.id, None, 10)).firings
    assert (one.outcome, one.run_id, one.code) == (Outcome.FAILED, None, "validation_error")
    assert needy.nodes[0].id in (one.error or "")
    assert not (await service.get(ANN, schedule.id)).paused


async def test_a_graph_that_left_the_library_pauses_its_schedules(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    await db.execute("UPDATE library_agents SET is_archived = true")
    await firing.fire_due(NINE)
    assert await history(schedule) == [(NINE, Outcome.FAILED, "graph_not_in_library")]
    shown = await service.get(ANN, schedule.id)
    assert shown.paused
    assert "library" in (shown.pause_reason or "")
    await db.execute("UPDATE library_agents SET is_archived = false")
    assert not (await service.resume(ANN, schedule.id)).paused


async def test_one_that_breaks_stops_no_other(db: Database) -> None:
    """Stored in a way that no version of the platform would: it can't even be read."""
    graph = await save(ECHO)
    broken, unknown, healthy = [await scheduled(graph, NINE) for _ in range(3)]
    await db.execute("UPDATE schedules SET request = 'no json' WHERE id = $1", broken.id)
    await db.execute("UPDATE schedules SET timezone = 'Mars/Olympus' WHERE id = $1", unknown.id)
    await firing.fire_due(NINE)
    rows = await db.fetch("SELECT schedule_id, code FROM schedule_firings")
    assert {row["schedule_id"]: row["code"] for row in rows} == {
        broken.id: "internal",
        unknown.id: "schedule_invalid",
        healthy.id: None,
    }
    due = await db.fetch("SELECT id, next_run_at, pause_reason FROM schedules")
    assert {row["id"]: row["next_run_at"] for row in due} == {
        broken.id: NINE + HOUR,
        unknown.id: None,
        healthy.id: NINE + HOUR,
    }
    assert len(await runs.list_(ANN.id)) == 1
    assert (await service.get(ANN, unknown.id)).paused
    assert (await service.get(ANN, healthy.id)).last_outcome is Outcome.STARTED


async def test_a_time_that_is_on_record_starts_nothing(db: Database) -> None:
    """As the key of the history demands, whoever set the schedule back."""
    schedule = await scheduled(await save(ECHO), NINE)
    await firing.fire_due(NINE)
    await set_due(schedule, NINE)
    await firing.fire_due(NINE)
    assert len(await runs.list_(ANN.id)) == 1
    assert await history(schedule) == [(NINE, Outcome.STARTED, None)]
    assert (await service.get(ANN, schedule.id)).next_run_time == NINE + HOUR


# Who changes or deletes meanwhile


async def test_a_graph_can_be_deleted_while_its_schedules_fire(db: Database) -> None:
    """The deletion waits for the batch; without the lock on the graph's version, each would wait for the other."""
    graph = await save(ECHO)
    schedule = await scheduled(graph, NINE)
    async with db.pool.acquire() as other:
        # The run of the firing waits for this, so the schedule stays locked.
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE runs IN SHARE MODE")
        fired = asyncio.create_task(firing.fire_due(NINE))
        await waiting_for(db, 1)
        deleted = asyncio.create_task(graphs.delete(ANN, graph.id))
        await waiting_for(db, 2)
        await transaction.rollback()
        await fired
        assert (await deleted).version_counts == 1
    assert await service.list_(ANN) == []
    assert await db.fetchval("SELECT count(*) FROM runs WHERE graph_id = $1", schedule.graph_id) == 0


async def waiting_for(db: Database, statements: int) -> None:
    async def are_there() -> bool:
        return await waiting(db) >= statements

    await until(are_there)


async def test_who_edits_a_schedule_that_fires_edits_it_after(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    async with db.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE runs IN SHARE MODE")
        fired = asyncio.create_task(firing.fire_due(NINE))
        await waiting_for(db, 1)
        paused = asyncio.create_task(service.pause(ANN, schedule.id))
        await waiting_for(db, 2)
        await transaction.rollback()
        await fired
        shown = await paused
    assert shown.paused
    assert shown.last_run_time == NINE
    assert await queries.next_due() is None


# Downtime


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (MissedRuns.SKIP, [(0, Outcome.SKIPPED)]),
        (MissedRuns.ONE, [(0, Outcome.SKIPPED), (3, Outcome.STARTED)]),
        (MissedRuns.ALL, [(hour, Outcome.STARTED) for hour in range(4)]),
    ],
)
async def test_after_a_downtime(db: Database, policy: MissedRuns, expected: list[tuple[int, Outcome]]) -> None:
    schedule = await scheduled(await save(ECHO), NINE, missed_runs=policy)
    await firing.fire_due(NINE + 3.5 * HOUR)
    assert [(at, outcome) for at, outcome, _ in await history(schedule)] == [
        (NINE + hour * HOUR, outcome) for hour, outcome in expected
    ]
    assert len(await runs.list_(ANN.id)) == sum(outcome is Outcome.STARTED for _, outcome in expected)
    assert (await service.get(ANN, schedule.id)).next_run_time == NINE + 4 * HOUR


async def test_the_window_bounds_what_is_made_up_for(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE, missed_runs=MissedRuns.ALL)
    with environment_of(AGENTPLAT_SCHEDULE_MISSED_WINDOW="7200"):
        await firing.fire_due(NINE + 5.5 * HOUR)
    assert [(at - NINE) / HOUR for at, outcome, _ in await history(schedule) if outcome is Outcome.STARTED] == [4, 5]


async def test_the_policy_is_the_platforms_where_none_is_given(db: Database) -> None:
    with environment_of(AGENTPLAT_SCHEDULE_MISSED_RUNS="skip"):
        assert (await scheduled(await save(ECHO), NINE)).missed_runs is MissedRuns.SKIP


async def test_what_came_up_during_a_pause_was_not_missed(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), now() - HOUR, cron="*/5 * * * *", missed_runs=MissedRuns.ALL)
    await service.pause(ANN, schedule.id)
    await firing.fire_due(now())
    assert (await service.resume(ANN, schedule.id)).next_run_time > now()
    await firing.fire_due(now())
    assert await history(schedule) == []


async def test_history_is_kept_for_some_days(db: Database) -> None:
    schedule = await scheduled(await save(ECHO), NINE)
    await firing.fire_due(NINE)
    await firing.fire_due(NINE + HOUR)
    await db.execute("UPDATE schedule_firings SET fired_at = now() - interval '31 days' WHERE scheduled_at = $1", NINE)

    def retention(*arguments: str) -> list[str]:
        return agentplat("retention", *arguments, env=environment()).stdout.splitlines()

    assert "history of schedules\t1\twould be dropped" in retention("--dry-run")
    assert len(await history(schedule)) == 2
    assert "history of schedules\t1\tdropped" in retention()
    assert await history(schedule) == [(NINE + HOUR, Outcome.STARTED, None)]
    assert (await service.get(ANN, schedule.id)).last_run_time == NINE + HOUR


async def test_firings_are_counted(db: Database) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"agentplat_schedule_{name}", labels) or 0

    names: list[tuple[str, dict[str, str]]] = [
        *(("firings_total", {"outcome": outcome}) for outcome in ("started", "failed", "skipped")),
        ("lag_seconds_count", {}),
        ("lag_seconds_sum", {}),
    ]
    before = [value(name, **labels) for name, labels in names]
    await scheduled(await save(ECHO), NINE)
    await firing.fire_due(NINE + 2 * HOUR + timedelta(seconds=5))
    grown = [value(name, **labels) - old for (name, labels), old in zip(names, before, strict=True)]
    assert grown == [1, 0, 1, 1, 5]
