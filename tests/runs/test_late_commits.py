"""Commits that come twice, or together with those of a later holder in the same process."""

from datetime import UTC, date, timedelta

import pytest
from redis.asyncio import Redis

from agentplat.engine.state import Status
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.runs import commits, mail, queries, turns
from agentplat.runs.commits import Ending, Write
from agentplat.runs.letters import Addressed, SubRunOutput
from agentplat.runs.models import RunRow
from tests.support.drawing import STORE, draw
from tests.support.world import save, start

GRAPH = draw({"a": (STORE, {"input": 1})})
LEASE = timedelta(seconds=60)
OVER = timedelta(seconds=-1)


def day_of(row: RunRow) -> date:
    return row.created_at.astimezone(UTC).date()


async def claimed(lease: timedelta = LEASE, run_id: str | None = None) -> RunRow:
    row = await turns.claim(run_id or (await start(await save(GRAPH))).id, "w1", lease, now())
    assert row is not None
    await queries.ensure_partition(day_of(row))
    return row


def write(
    row: RunRow, seq: int, body: bytes, ending: Ending | None = None, letters: list[Addressed] | None = None
) -> Write:
    return Write(
        run_id=row.id,
        run_day=day_of(row),
        seq=seq,
        fence=row.fence,
        body=body,
        ending=ending,
        letters=letters or [],
    )


@pytest.mark.usefixtures("redis")
async def test_rows_of_an_older_fence_are_refused_beside_those_of_the_younger_one(db: Database) -> None:
    """A process that slept past its lease may have claimed its own run anew: one owner, one commit, two fences."""
    old = await claimed(OVER)
    new = await claimed(run_id=old.id)
    ending = Ending(status=Status.FAILED, ended_at=now(), stats=b"{}", outputs=b"{}", node_executions=b"[]")
    await commits.commit([write(old, 1, b"[stale]", ending), write(new, 5, b"[fresh]")], "w1")
    assert [segment.body for segment in await queries.read_journal(old.id, day_of(old))] == [b"[fresh]"]
    row = await queries.find(old.id)
    assert row is not None
    assert row.status == Status.RUNNING


async def test_a_commit_that_is_repeated_delivers_its_letters_once(db: Database, redis: Redis) -> None:
    parent, child = await claimed(), await claimed()
    await mail.open_mailbox(parent.id)
    letter = SubRunOutput(1, "r", [7])
    sent = write(child, 1, b"[]", letters=[Addressed(parent.id, letter)])
    for _ in range(2):
        assert (await commits.commit([sent], "w1")).held == {sent.claim}
    assert await mail.read(parent.id, 0) == [(1, letter)]
