"""Old journals go, and nothing that a user can see goes with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.graphs.models import GraphModel
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries, retention, service, turns
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunMeta
from agentplat.runs.retention import IN_USE, Retired, retire
from tests.support.drawing import STORE, draw
from tests.support.processes import agentplat, environment
from tests.support.services import Servers
from tests.support.world import ANN, save, start

POLICY = 30
# The clock stands, or a day could begin in the middle of a test: the youngest day that is older than the policy, and
# the oldest that is not.
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, KEPT = (NOW.date() - timedelta(days=POLICY + days) for days in (1, 0))
TWO = draw({"a": (STORE, {"input": 1}), "b": (STORE, {})}, "a.output -> b.input")


@pytest.fixture
async def graph(db: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GraphModel]:
    monkeypatch.setattr(retention, "now", lambda: NOW)
    async with journals(db, OLD, KEPT):
        yield await save(TWO)


@asynccontextmanager
async def journals(db: Database, *of: date) -> AsyncIterator[None]:
    for day in of:
        await queries.ensure_partition(day)
    try:
        yield
    finally:
        for day in of:
            await db.execute(f"DROP TABLE IF EXISTS {partition(day)}")


def partition(day: date) -> str:
    return f"journal_{day:%Y%m%d}"


async def days(db: Database, *of: date) -> set[date]:
    """Those that there is a journal of."""
    return {day for day in of or (OLD, KEPT) if await db.fetchval("SELECT to_regclass($1)", partition(day))}


async def run_of(db: Database, graph: GraphModel, day: date, settings: Settings | None = None) -> RunMeta:
    """A run that was accepted on that day; with `settings` one that was then executed."""
    run = await start(graph)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    await db.execute("UPDATE runs SET created_at = $2 WHERE id = $1", run.id, noon)
    if settings is not None:
        async with Driver(settings) as driver:
            await driver.accept(run.id)
            async with asyncio.timeout(10):
                while (row := await queries.find(run.id)) is None or row.status != "COMPLETED":
                    await asyncio.sleep(0.01)
    return run


async def shown(run: RunMeta) -> Any:
    return msgspec.json.decode(msgspec.json.encode(await service.get(ANN.id, run.graph_id, run.id)))


def results(retired: Retired) -> dict[date, str | None]:
    return {one.day: one.kept for one in retired.days}


async def test_runs_outlive_their_journal(graph: GraphModel, db: Database, settings: Settings) -> None:
    run = await run_of(db, graph, OLD, settings)
    before = await shown(run)
    assert (before["status"], len(before["node_executions"])) == ("COMPLETED", 2)
    assert await queries.read_journal(run.id, OLD)
    retired = await retire(POLICY, dry_run=False)
    assert results(retired) == {OLD: None}
    assert retired.days[0].bytes > 0
    assert await days(db) == {KEPT}
    assert await queries.read_journal(run.id, OLD) == []
    assert await shown(run) == before
    assert [one.id for one in await service.list_(ANN.id)] == [run.id]
    assert results(await retire(POLICY, dry_run=False)) == {}


async def test_a_run_that_failed_without_a_record_of_its_nodes_stays_failed(graph: GraphModel, db: Database) -> None:
    run = await run_of(db, graph, OLD)
    assert await turns.claim(run.id, "w", timedelta(seconds=5), now())
    await db.execute("UPDATE runs SET status = 'FAILED', ended_at = now(), lease_until = NULL WHERE id = $1", run.id)
    assert (await shown(run))["status"] == "FAILED"
    await retire(POLICY, dry_run=False)
    assert (await shown(run))["status"] == "FAILED"


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "REVIEW"])
async def test_a_day_with_an_unfinished_run_is_kept(graph: GraphModel, db: Database, status: str) -> None:
    run = await run_of(db, graph, OLD)
    await db.execute("UPDATE runs SET status = $2, lease_until = NULL WHERE id = $1", run.id, status)
    assert results(await retire(POLICY, dry_run=False)) == {OLD: "1 unfinished run"}
    assert await days(db) == {OLD, KEPT}
    # Hidden or not: deleting a run doesn't end it.
    await service.delete(ANN.id, run.id)
    assert results(await retire(POLICY, dry_run=False)) == {OLD: "1 unfinished run"}
    await db.execute("UPDATE runs SET status = 'TERMINATED' WHERE id = $1", run.id)
    assert results(await retire(POLICY, dry_run=False)) == {OLD: None}


@pytest.mark.parametrize("moment", ["00:00:00", "23:59:59.999"])
async def test_a_day_is_a_day_in_utc(graph: GraphModel, db: Database, moment: str) -> None:
    run = await start(graph)
    await db.execute(f"UPDATE runs SET created_at = '{OLD} {moment}+00' WHERE id = $1", run.id)
    assert results(await retire(POLICY, dry_run=False)) == {OLD: "1 unfinished run"}


async def test_a_dry_run_changes_nothing(graph: GraphModel, db: Database) -> None:
    assert results(await retire(POLICY, dry_run=True)) == {OLD: None}
    assert await days(db) == {OLD, KEPT}


async def test_the_policy_is_counted_in_days(graph: GraphModel, db: Database) -> None:
    assert results(await retire(POLICY + 1, dry_run=False)) == {}
    assert results(await retire(POLICY - 1, dry_run=False)) == {OLD: None, KEPT: None}


async def test_writers_are_not_held_up_by_a_partition_in_use(
    graph: GraphModel, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads the journal for long; who would drop a part of it gives way to those who write."""
    monkeypatch.setattr(retention, "TURNS", 5)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.05)
    reader, writer = [await asyncpg.connect(db.pool._connect_args[0]) for _ in range(2)]
    # A turn of waiting, and what a busy machine adds. The database measures it: an insert that waits longer fails.
    await writer.execute(f"SET lock_timeout = {retention.LOCK_TIMEOUT_MS + 500}")
    async with reader.transaction():
        await reader.fetch("SELECT count(*) FROM journal")
        retiring = asyncio.create_task(retire(POLICY, dry_run=False))
        row = 0
        while not retiring.done():
            row += 1
            await writer.execute("INSERT INTO journal VALUES ('x', $1, $2, 1, '[]')", row, KEPT)
        assert results(await retiring) == {OLD: IN_USE}
    await reader.close()
    await writer.close()
    assert row > 10
    assert await days(db) == {OLD, KEPT}
    assert results(await retire(POLICY, dry_run=False)) == {OLD: None}


async def test_two_at_once_do_it_once(graph: GraphModel, db: Database) -> None:
    both = await asyncio.gather(*(retire(POLICY, dry_run=False) for _ in range(2)))
    assert {OLD: None} in [results(one) for one in both]
    assert await days(db) == {KEPT}


def test_the_command_needs_the_schema(settings: Settings, services: Servers) -> None:
    refused = agentplat("retention", env=environment(DATABASE_URL=services.database_url))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: The database schema is not up to date.\n")


async def test_the_command(db: Database, redis: Redis) -> None:
    # Its clock goes on, so its days are far from where a midnight would count.
    old, kept = (now().date() - timedelta(days=POLICY + days) for days in (10, -10))
    async with journals(db, old, kept):
        run = await run_of(db, await save(TWO), old)
        await db.execute(
            "INSERT INTO idempotency_keys VALUES ('ann', 'k', '', $1, '', now() - interval '25 hours')", run.id
        )

        def command(*arguments: str, **variables: str) -> list[list[str]]:
            done = agentplat("retention", *arguments, env=environment(**variables))
            assert done.returncode == 0, done.stderr
            return [line.split("\t") for line in done.stdout.splitlines()]

        keys = ["expired idempotency keys", "1", "would be dropped"]
        assert command("--dry-run", AGENTPLAT_RETENTION_DAYS="50") == [keys]
        ((what, _, why), _) = command("--dry-run")
        assert (what, why) == (f"journal of {old}", "kept: 1 unfinished run")
        await db.execute("UPDATE runs SET status = 'COMPLETED' WHERE id = $1", run.id)
        assert [row[2] for row in command("--dry-run", "--days", "30")] == ["would be dropped"] * 2
        assert await days(db, old, kept) == {old, kept}
        assert [row[2] for row in command("--days", "30")] == ["dropped"] * 2
        assert await days(db, old, kept) == {kept}
        assert command() == [["expired idempotency keys", "0", "dropped"]]
