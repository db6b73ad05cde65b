"""Group commits: rows are written together and in order, and nobody's bad row is another's problem."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, timedelta
from time import time_ns

import asyncpg
import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.engine.state import Status
from agentplat.events.models import RunRecord
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.runs import commits, queries, turns
from agentplat.runs.charging import ChargedStart, Outcome
from agentplat.runs.commits import Ending, Write
from agentplat.runs.journal import JournalWriter
from agentplat.runs.models import RunRow
from tests.support.drawing import STORE, draw
from tests.support.world import save, start

GRAPH = draw({"a": (STORE, {"input": 1})})
OWNER = "w1"


class Publisher:
    """Takes what would go to the event bus, and asks the database whether it is true by then."""

    def __init__(self) -> None:
        self.batches: list[list[RunRecord]] = []
        self.premature: list[RunRecord] = []

    async def __call__(self, records: Sequence[RunRecord]) -> None:
        self.batches.append(list(records))
        for record in records:
            day = now().astimezone(UTC).date()
            if record.seq not in [one.seq for one in await queries.read_journal(record.run_id, day)]:
                self.premature.append(record)


@pytest.fixture
async def rows(db: Database, redis: Redis) -> list[RunRow]:
    graph = await save(GRAPH)
    claimed = []
    for _ in range(3):
        run = await start(graph)
        row = await turns.claim(run.id, OWNER, timedelta(seconds=30), now())
        assert row is not None
        claimed.append(row)
    return claimed


def write(row: RunRow, seq: int, *, fence: int | None = None, body: bytes = b"[]") -> Write:
    day = row.created_at.astimezone(UTC).date()
    return Write(run_id=row.id, run_day=day, seq=seq, fence=row.fence if fence is None else fence, body=body)


async def test_rows_that_wait_share_a_commit_and_keep_their_order(rows: list[RunRow]) -> None:
    publisher = Publisher()
    writer = JournalWriter(OWNER, 0, publisher)
    tickets = [writer.submit(write(row, seq), "ann", "g") for seq in range(1, 51) for row in rows]
    writer.start()
    assert all(await asyncio.gather(*tickets))
    await writer.close()
    assert [len(batch) for batch in publisher.batches] == [150]
    for row in rows:
        assert [record.seq for record in publisher.batches[0] if record.run_id == row.id] == list(range(1, 51))
    assert publisher.premature == []


async def test_a_lost_run_hears_of_it_and_is_not_published(rows: list[RunRow]) -> None:
    publisher = Publisher()
    writer = JournalWriter(OWNER, 0, publisher)
    writer.start()
    before = time_ns() // 1000
    mine = writer.submit(write(rows[0], 1), "ann", "g")
    lost = writer.submit(write(rows[1], 1, fence=99), "ann", "g")
    assert before <= await mine <= time_ns() // 1000
    assert await lost == 0
    await writer.close()
    assert [record.run_id for batch in publisher.batches for record in batch] == [rows[0].id]


async def test_a_row_that_can_not_be_written_harms_no_other(rows: list[RunRow]) -> None:
    writer = JournalWriter(OWNER, 0, Publisher())
    good, bad, after = (
        writer.submit(write(rows[0], 1), "ann", "g"),
        writer.submit(write(rows[1], 2**40), "ann", "g"),  # no integer column takes this number
        writer.submit(write(rows[2], 1), "ann", "g"),
    )
    writer.start()
    assert await good
    assert await after
    with pytest.raises(asyncpg.DataError):
        await bad
    await writer.close()


async def test_after_a_row_that_can_not_be_written_no_other_of_its_claim_is(rows: list[RunRow]) -> None:
    """In the same batch or later: the numbers would have a hole. Who claims the run anew goes on before the hole."""
    publisher = Publisher()
    writer = JournalWriter(OWNER, 0, publisher)
    tickets = [writer.submit(write(rows[0], seq), "ann", "g") for seq in (1, 2**40, 3)]
    other = writer.submit(write(rows[1], 1), "ann", "g")
    writer.start()
    assert await tickets[0]
    with pytest.raises(asyncpg.DataError):
        await tickets[1]
    assert not await tickets[2]
    assert await other
    assert not await writer.submit(write(rows[0], 4), "ann", "g")
    assert not await writer.suspend(write(rows[0], 4), 0, "ann", "g")
    start = ChargedStart(write=write(rows[0], 4), charges=[])
    assert await writer.charge(start, "ann", "g") == Outcome(held=False)
    await queries.release([rows[0].id], OWNER)
    anew = await turns.claim(rows[0].id, OWNER, timedelta(seconds=30), now())
    assert anew is not None
    assert await writer.submit(write(anew, 2), "ann", "g")
    await writer.close()
    day = now().astimezone(UTC).date()
    assert [one.seq for one in await queries.read_journal(anew.id, day)] == [1, 2]
    assert [record.seq for batch in publisher.batches for record in batch if record.run_id == anew.id] == [1, 2]


async def test_a_stale_row_is_told_so_beside_one_of_the_same_run_that_is_written(rows: list[RunRow]) -> None:
    """A process that slept past its lease may have claimed its own run anew: one owner, one commit, two fences."""
    old = rows[0]
    await queries.release([old.id], OWNER)
    new = await turns.claim(old.id, OWNER, timedelta(seconds=30), now())
    assert new is not None
    publisher = Publisher()
    writer = JournalWriter(OWNER, 0, publisher)
    stale, fresh = writer.submit(write(old, 1), "ann", "g"), writer.submit(write(new, 2), "ann", "g")
    writer.start()
    assert not await stale
    assert await fresh
    await writer.close()
    assert [record.seq for batch in publisher.batches for record in batch] == [2]


async def test_a_missing_partition_is_made(rows: list[RunRow], db: Database) -> None:
    day = now().astimezone(UTC).date()
    await db.execute(f"DROP TABLE IF EXISTS journal_{day:%Y%m%d}")
    writer = JournalWriter(OWNER, 0, Publisher())
    writer.start()
    assert await writer.submit(write(rows[0], 1), "ann", "g")
    await writer.close()


async def test_a_commit_waits_for_a_database_that_went_away(rows: list[RunRow], db: Database) -> None:
    """All connections of this process are cut while rows arrive: none is lost, none is written twice."""
    writer = JournalWriter(OWNER, 0.001, Publisher())
    writer.start()
    admin = await asyncpg.connect(db.pool._connect_args[0])
    try:
        tickets = []
        for seq in range(1, 200):
            tickets.append(writer.submit(write(rows[0], seq), "ann", "g"))
            if seq % 50 == 0:
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            await asyncio.sleep(0.001)  # rows come one after another, and not all before the first cut
        async with asyncio.timeout(20):
            assert all(await asyncio.gather(*tickets))
    finally:
        await admin.close()
    await writer.close()
    day = rows[0].created_at.astimezone(UTC).date()
    assert [one.seq for one in await queries.read_journal(rows[0].id, day)] == list(range(1, 200))


async def test_an_ending_whose_answer_got_lost_counts(rows: list[RunRow]) -> None:
    """The row is there and the run is final: repeating the commit must not look like a lost lease."""
    ending = Ending(status=Status.COMPLETED, ended_at=now(), stats=b"{}", outputs=b"{}", node_executions=b"[]")
    last = msgspec.structs.replace(write(rows[0], 1), ending=ending)
    assert (await commits.commit([last], OWNER)).held == {last.claim}
    assert (await commits.commit([last], OWNER)).held == set()
    assert await commits.find_ended([last, write(rows[1], 1)]) == [last.claim]
    stale = msgspec.structs.replace(last, fence=last.fence + 1)
    assert await commits.find_ended([stale]) == []


async def test_a_publisher_that_hangs_holds_up_nobody_for_long(rows: list[RunRow]) -> None:
    async def hang(_records: Sequence[RunRecord]) -> None:
        await asyncio.Event().wait()

    writer = JournalWriter(OWNER, 0, hang)
    writer.start()
    async with asyncio.timeout(10):
        for seq in (1, 2):
            assert await writer.submit(write(rows[0], seq), "ann", "g")
        await writer.close()


async def test_without_an_answer_of_the_database_closing_ends_all_the_same(rows: list[RunRow], db: Database) -> None:
    writer = JournalWriter(OWNER, 0, Publisher())
    writer.start()
    async with db.transaction() as connection:
        await connection.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
        ticket = writer.submit(write(rows[0], 1), "ann", "g")
        async with asyncio.timeout(10):
            await writer.close(0.1)
        assert not ticket.done()
    assert await queries.read_journal(rows[0].id, now().date()) == []
