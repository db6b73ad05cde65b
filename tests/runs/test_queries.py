"""The statements that keep runs apart: claims, fences, group commits."""

import asyncio
from datetime import UTC, date, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from agentplat.engine.state import Status
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.runs import commits, listing, queries, turns
from agentplat.runs.commits import Ending, Write
from agentplat.runs.models import RunRow
from tests.support.conditions import until
from tests.support.drawing import STORE, draw
from tests.support.locks import waiting
from tests.support.world import save, start

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)
GRAPH = draw({"a": (STORE, {"input": 1})})


@pytest.fixture
async def run_id(db: Database, redis: Redis) -> str:
    await queries.ensure_partition(now().astimezone(UTC).date())
    return (await start(await save(GRAPH))).id


def write(row: RunRow, seq: int, ending: Ending | None = None, fence: int | None = None) -> Write:
    return Write(
        run_id=row.id,
        run_day=row.created_at.astimezone(UTC).date(),
        seq=seq,
        fence=row.fence if fence is None else fence,
        body=b"[]",
        ending=ending,
    )


ENDING = Ending(status=Status.COMPLETED, ended_at=now(), stats=b"{}", outputs=b"{}", node_executions=b"[]")


async def claimed(run_id: str, owner: str = "w1", lease: timedelta = LEASE) -> RunRow:
    row = await turns.claim(run_id, owner, lease, now())
    assert row is not None
    return row


async def journal_of(row: RunRow) -> list[int]:
    return [segment.seq for segment in await queries.read_journal(row.id, row.created_at.astimezone(UTC).date())]


async def test_of_many_claims_at_once_one_wins(run_id: str) -> None:
    rows = await asyncio.gather(*(turns.claim(run_id, f"w{n}", LEASE, now()) for n in range(20)))
    (won,) = [row for row in rows if row is not None]
    assert won.status == Status.RUNNING
    assert won.fence == 1
    assert won.started_at is not None


async def test_a_lease_that_ran_out_can_be_claimed_under_a_higher_fence(run_id: str) -> None:
    first = await claimed(run_id, "w1", OVER)
    second = await claimed(run_id, "w2")
    assert second.fence == first.fence + 1
    assert second.started_at == first.started_at


async def test_who_lost_the_lease_writes_nothing(run_id: str) -> None:
    old = await claimed(run_id, "w1", OVER)
    new = await claimed(run_id, "w2")
    assert (await commits.commit([write(old, 1, ENDING)], "w1")).held == set()
    # Not even under the new fence, nor in the new holder's name with the old one.
    assert (await commits.commit([write(old, 1, ENDING, fence=new.fence)], "w1")).held == set()
    assert (await commits.commit([write(old, 1, ENDING)], "w2")).held == set()
    assert await journal_of(new) == []
    row = await queries.find(run_id)
    assert row is not None
    assert row.status == Status.RUNNING


async def test_a_commit_and_a_claim_at_once_never_both_succeed(run_id: str, db: Database) -> None:
    """Whatever the order in which they reach the row: after the claim the old holder's rows are refused."""
    row = await claimed(run_id, "w0", OVER)
    for turn in range(1, 25):
        rows, held = await asyncio.gather(
            turns.claim(run_id, f"w{turn}", OVER, now()), commits.commit([write(row, turn)], f"w{turn - 1}")
        )
        assert rows is not None
        written = turn in await journal_of(row)
        assert written == bool(held.held)
        assert (await commits.commit([write(row, 1000 + turn)], f"w{turn - 1}")).held == set()
        row = rows


async def test_one_commit_carries_many_runs_and_drops_only_the_lost_ones(run_id: str) -> None:
    graph = await save(GRAPH)
    others = [(await start(graph)).id for _ in range(3)]
    rows = [await claimed(one) for one in (run_id, *others)]
    lost = rows[2]
    held = await commits.commit(
        [write(row, 1, None if row is not lost else ENDING, row.fence - (row is lost)) for row in rows], "w1"
    )
    assert held.held == {(row.id, row.fence) for row in rows if row is not lost}
    assert [await journal_of(row) for row in rows] == [[1], [1], [], [1]]


async def test_an_ending_is_written_with_the_last_row(run_id: str) -> None:
    row = await claimed(run_id)
    assert (await commits.commit([write(row, 1), write(row, 2, ENDING)], "w1")).held == {(run_id, row.fence)}
    found = await queries.get("ann", run_id)
    assert found is not None
    assert (found.status, found.ended_at, found.outputs) == (Status.COMPLETED, ENDING.ended_at, b"{}")
    assert await turns.claim(run_id, "w2", LEASE, now()) is None
    assert (await commits.commit([write(row, 3)], "w1")).held == set()


async def test_a_commit_whose_answer_got_lost_may_be_repeated(run_id: str) -> None:
    row = await claimed(run_id)
    assert (await commits.commit([write(row, 1)], "w1")).held == {(run_id, row.fence)}
    assert (await commits.commit([write(row, 1)], "w1")).held == {(run_id, row.fence)}
    assert await journal_of(row) == [1]


async def test_leases_are_renewed_together_and_tell_of_stops(run_id: str) -> None:
    graph = await save(GRAPH)
    other, foreign = (await start(graph)).id, (await start(graph)).id
    for one in (run_id, other):
        await claimed(one)
    await claimed(foreign, "w2")
    assert await queries.request_stop("ann", [other], now(), graph.id) == [other]
    assert await queries.renew([run_id, other, foreign], "w1", LEASE) == {run_id: False, other: True}


@pytest.mark.parametrize("what", ["renew", "release", "commit"])
async def test_many_runs_are_locked_in_the_order_of_their_ids(run_id: str, db: Database, what: str) -> None:
    """As who stops many does. Who waits for the first one holds no other, so nobody waits for whom he holds up."""
    graph = await save(GRAPH)
    ids = sorted([run_id, *[(await start(graph)).id for _ in range(5)]], reverse=True)
    rows = [await claimed(one) for one in ids]
    first = ids[-1]
    doing: asyncio.Task[Any]
    async with db.pool.acquire() as holder, db.pool.acquire() as other:
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT FROM runs WHERE id = $1 FOR UPDATE", first)
        if what == "commit":
            doing = asyncio.create_task(commits.commit([write(row, 1) for row in rows], "w1"))
        elif what == "renew":
            doing = asyncio.create_task(queries.renew(ids, "w1", LEASE))
        else:
            doing = asyncio.create_task(queries.release(ids, "w1"))
        await until(lambda: waiting(db))
        # Fails where one of them is locked.
        await other.execute("SELECT FROM runs WHERE id <> $1 FOR UPDATE NOWAIT", first)
        await held.rollback()
    await doing


async def test_released_runs_can_be_claimed_at_once(run_id: str) -> None:
    await claimed(run_id)
    await queries.release([run_id], "somebody else")
    assert await turns.claim(run_id, "w2", LEASE, now()) is None
    await queries.release([run_id], "w1")
    assert (await claimed(run_id, "w2")).fence == 2


async def test_stranded_runs_are_found_and_others_left_alone(run_id: str) -> None:
    graph = await save(GRAPH)
    dead, alive, done = [(await start(graph)).id for _ in range(3)]
    await claimed(dead, "w1", OVER)
    await claimed(alive)
    row = await claimed(done)
    await commits.commit([write(row, 1, ENDING)], "w1")
    assert await queries.find_stranded(10) == [dead]
    assert await queries.request_stop("ann", [run_id], now()) == [run_id]
    assert set(await queries.find_stranded(10)) == {run_id, dead}
    assert len(await queries.find_stranded(1)) == 1


async def test_partitions_are_made_once_by_many(db: Database) -> None:
    day = date(2031, 5, 17)
    await asyncio.gather(*(queries.ensure_partition(day) for _ in range(8)))
    try:
        bounds = await db.fetchval(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'journal_20310517'"
        )
        assert bounds == "FOR VALUES FROM ('2031-05-17') TO ('2031-05-18')"
    finally:
        await db.execute("DROP TABLE journal_20310517")


async def test_a_row_that_has_no_partition_gets_one(run_id: str, db: Database) -> None:
    row = await claimed(run_id)
    stray = Write(run_id=run_id, run_day=date(1999, 1, 1), seq=1, fence=row.fence, body=b"[]")
    try:
        assert (await commits.commit([stray], "w1")).held == {stray.claim}
        assert [one.seq for one in await queries.read_journal(run_id, stray.run_day)] == [1]
    finally:
        await db.execute("DROP TABLE IF EXISTS journal_19990101")  # tables outlive the test, rows don't


async def test_foreign_runs_are_not_seen(run_id: str) -> None:
    row = await queries.find(run_id)
    assert row is not None
    assert await queries.get("bob", run_id) is None
    assert await listing.of_user("bob", 10) == []
    assert await listing.of_graph("bob", row.graph_id, 0, 10) == ([], 0)
    assert await queries.request_stop("bob", [run_id], now(), row.graph_id) == []
    assert not await listing.hide("bob", run_id)


async def test_a_run_that_can_not_be_driven_fails_once(run_id: str) -> None:
    row = await claimed(run_id)
    assert not await queries.fail(run_id, row.fence - 1, b"{}", now())
    assert await queries.fail(run_id, row.fence, b'{"error":"no such block"}', now())
    assert not await queries.fail(run_id, row.fence, b"{}", now())
    found = await queries.find(run_id)
    assert found is not None
    assert (found.status, found.stats) == (Status.FAILED, b'{"error":"no such block"}')


async def test_looking_for_stranded_runs_reads_no_others(run_id: str, db: Database) -> None:
    """Among many runs that are over or wait for people, the plan touches only what indexes single out."""
    await db.execute(
        """
        INSERT INTO runs (id, user_id, graph_id, graph_version, root_id, status, request, created_at, deadline)
        SELECT gen_random_uuid()::text, user_id, graph_id, graph_version, root_id,
            CASE WHEN n % 4 = 0 THEN 'REVIEW' ELSE 'COMPLETED' END, request, created_at, now() + interval '1 day'
        FROM runs CROSS JOIN generate_series(1, 20000) AS n WHERE id = $1
        """,
        run_id,
    )
    await db.execute("ANALYZE runs")
    assert await queries.find_stranded(10) == []
    statements = (
        f"SELECT id FROM runs WHERE status IN ('QUEUED', 'REVIEW') AND {condition}"
        for condition in ("deadline < now()", "stop_requested_at IS NOT NULL")
    )
    for one in statements:
        plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {one}"))
        assert "Seq Scan" not in plan, plan
