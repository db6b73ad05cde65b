"""A start that costs something is in the journal if and only if it is in the ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta

import pytest

from agentplat.credits import service as credits
from agentplat.credits.models import Charge, Shortage
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.ids import new_id
from agentplat.runs import commits, queries, turns
from agentplat.runs.charging import ChargedStart, Outcome, record_charged_starts
from agentplat.runs.commits import Write
from agentplat.runs.models import RunRow
from tests.support.ledger import unsound_accounts
from tests.support.locks import waiting
from tests.support.switches import environment_of

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)
TODAY = now().astimezone(UTC).date()
PAID, LOST = Outcome(held=True), Outcome(held=False)


@pytest.fixture(autouse=True)
async def funded(db: Database) -> AsyncIterator[None]:
    """Ann has 10 credits, Bob has none."""
    with environment_of(ENABLE_CREDIT="true"):
        await queries.ensure_partition(TODAY)
        await db.execute("INSERT INTO users (id) VALUES ('ann'), ('bob')")
        await db.execute(
            "INSERT INTO graph_versions (id, version, user_id, name, description, body)"
            " SELECT 'graph', 1, 'ann', '', '', ''"
        )
        await credits.grant("ann", 10, "gift", "gift")
        yield
        assert await unsound_accounts(db) == []


async def claimed(db: Database, user: str = "ann", owner: str = "w1", lease: timedelta = LEASE) -> RunRow:
    run_id = new_id()
    await db.execute(
        "INSERT INTO runs (id, user_id, graph_id, graph_version, root_id, status, request, created_at, deadline)"
        " VALUES ($1, $2, 'graph', 1, $1, 'QUEUED', '{}', now(), now() + interval '1 day')",
        run_id,
        user,
    )
    row = await turns.claim(run_id, owner, lease, now())
    assert row is not None
    return row


def start(row: RunRow, seq: int, *amounts: int, fence: int | None = None) -> ChargedStart:
    write = Write(run_id=row.id, run_day=TODAY, seq=seq, fence=row.fence if fence is None else fence, body=b"[]")
    charges = [
        Charge(key=f"{row.id}-{seq + number}", amount=amount, executions=1) for number, amount in enumerate(amounts)
    ]
    return ChargedStart(write=write, charges=charges)


async def record(one: ChargedStart, owner: str = "w1") -> Outcome:
    return (await record_charged_starts([one], owner))[one.write.claim]


@asynccontextmanager
async def account_locked(db: Database) -> AsyncIterator[None]:
    """As if something else of Ann's was being charged and took its time."""
    async with db.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM balances WHERE user_id = 'ann' FOR UPDATE")
        yield


async def journal_of(row: RunRow) -> list[int]:
    return [segment.seq for segment in await queries.read_journal(row.id, TODAY)]


async def charged_to(user: str) -> list[str]:
    """The keys of what the user paid for."""
    return sorted(one.transaction_key for one in await credits.history(user) if one.amount < 0)


async def test_a_start_that_is_paid_is_in_both_books(db: Database) -> None:
    row = await claimed(db)
    assert await record(start(row, 1, 3)) == PAID
    assert await journal_of(row) == [1]
    assert await charged_to("ann") == [f"{row.id}-1"]
    assert await credits.balance("ann") == 7


async def test_a_start_that_is_not_covered_is_in_neither(db: Database) -> None:
    rich, poor = await claimed(db), await claimed(db, "bob")
    assert await record(start(rich, 1, 11)) == Outcome(held=True, shortage=Shortage(balance=10, cost=11))
    assert await record(start(poor, 1, 1)) == Outcome(held=True, shortage=Shortage(balance=0, cost=1))
    assert await journal_of(rich) == await journal_of(poor) == []
    assert await charged_to("ann") == await charged_to("bob") == []
    # Its number is free for what is recorded instead.
    assert await record(start(rich, 1, 10)) == PAID
    assert await credits.balance("ann") == 0


async def test_who_lost_the_lease_pays_nothing_and_writes_nothing(db: Database) -> None:
    old = await claimed(db, lease=OVER)
    new = await turns.claim(old.id, "w2", LEASE, now())
    assert new is not None
    assert await record(start(old, 1, 1), "w1") == LOST
    assert await record(start(old, 1, 1, fence=new.fence), "w1") == LOST
    assert await record(start(old, 1, 1), "w2") == LOST
    assert await journal_of(new) == []
    assert await credits.balance("ann") == 10
    assert await record(start(new, 1, 1), "w2") == PAID


async def test_a_start_whose_answer_got_lost_may_be_repeated(db: Database) -> None:
    row = await claimed(db)
    for _ in range(3):
        assert await record(start(row, 1, 10)) == PAID
    assert await journal_of(row) == [1]
    assert await credits.balance("ann") == 0


@pytest.mark.parametrize("amount", [4, 6])
async def test_a_start_may_be_repeated_while_it_is_still_being_recorded(db: Database, amount: int) -> None:
    """Also when the balance would not cover it a second time."""
    row = await claimed(db)
    async with account_locked(db):
        starting = [asyncio.create_task(record(start(row, 1, amount))) for _ in range(3)]
        while await waiting(db) < 3:
            assert not any(task.done() for task in starting)
    assert await asyncio.gather(*starting) == [PAID] * 3
    assert await journal_of(row) == [1]
    assert await credits.balance("ann") == 10 - amount
    assert await db.fetchval("SELECT executions FROM balances WHERE user_id = 'ann'") == 1


async def test_several_starts_in_one_row_are_all_paid_or_none(db: Database) -> None:
    row = await claimed(db)
    assert await record(start(row, 1, 3, 3, 3)) == PAID
    assert await record(start(row, 4, 1, 1)) == Outcome(held=True, shortage=Shortage(balance=1, cost=2))
    assert await journal_of(row) == [1]
    assert [one.running_balance for one in await credits.history("ann")] == [1, 4, 7, 10]


async def test_one_statement_carries_many_runs(db: Database) -> None:
    await credits.grant("bob", 2, "gift", "gift")
    runs = [await claimed(db) for _ in range(4)] + [await claimed(db, "bob")]
    lost = runs[1]
    outcomes = await record_charged_starts(
        [start(row, 1, 4, fence=row.fence - (row is lost)) for row in runs[:4]] + [start(runs[4], 1, 2)], "w1"
    )
    # Ann's 10 credits are not enough for all three that are held, so they go to the first ones.
    short = Outcome(held=True, shortage=Shortage(balance=2, cost=4))
    assert [outcomes[row.id, row.fence - (row is lost)] for row in runs] == [PAID, LOST, PAID, short, PAID]
    assert [await journal_of(row) for row in runs] == [[1], [], [1], [], [1]]
    assert (await credits.balance("ann"), await credits.balance("bob")) == (2, 0)


async def test_starts_of_an_older_fence_are_refused_beside_those_of_the_younger_one(db: Database) -> None:
    """A process that slept past its lease may have claimed its own run anew: one owner, one batch, two fences."""
    old = await claimed(db, lease=OVER)
    new = await turns.claim(old.id, "w1", LEASE, now())
    assert new is not None
    outcomes = await record_charged_starts([start(old, 1, 4), start(new, 5, 3)], "w1")
    assert outcomes == {(old.id, old.fence): LOST, (new.id, new.fence): PAID}
    assert await journal_of(new) == [5]
    assert await credits.balance("ann") == 7


async def test_a_start_and_a_claim_at_once_never_both_succeed(db: Database) -> None:
    """Whatever the order in which they reach the run: who is paid for is who held it."""
    await credits.grant("ann", 1000, "more", "gift")
    row = await claimed(db, owner="w0", lease=OVER)
    for turn in range(1, 25):
        taken, outcome = await asyncio.gather(
            turns.claim(row.id, f"w{turn}", OVER, now()), record(start(row, turn, 7), f"w{turn - 1}")
        )
        assert taken is not None
        assert outcome.paid == (turn in await journal_of(row)) == (f"{row.id}-{turn}" in await charged_to("ann"))
        assert await record(start(row, 1000 + turn, 7), f"w{turn - 1}") == LOST
        row = taken


async def test_a_run_can_not_be_claimed_between_its_payment_and_its_record(db: Database) -> None:
    """Something else of Ann's keeps the start waiting; a claim has to wait behind it."""
    row = await claimed(db, lease=OVER)
    async with account_locked(db):
        starting = asyncio.create_task(record(start(row, 1, 4)))
        while await waiting(db) < 1:
            assert not starting.done()
        claiming = asyncio.create_task(turns.claim(row.id, "w2", LEASE, now()))
        while await waiting(db) < 2:
            assert not claiming.done()
    assert await starting == PAID
    taken = await claiming
    assert taken is not None
    assert await journal_of(taken) == [1]
    assert await credits.balance("ann") == 6


async def test_a_number_that_was_used_otherwise_is_never_charged(db: Database) -> None:
    """A sending that everybody has forgotten arrives after its run went on without it."""
    row = await claimed(db)
    one = start(row, 1, 4)
    assert (await commits.commit([one.write], "w1")).held == {one.write.claim}
    assert await record(one) == PAID  # "it is in the journal" is all that can be said
    assert await charged_to("ann") == []


async def test_many_workers_and_users_at_once_charge_exactly_what_was_started(db: Database) -> None:
    """Batches whose users overlap in every order, more than there is money for, each sent twice."""
    await credits.grant("ann", 50, "more", "gift")
    await credits.grant("bob", 60, "more", "gift")
    batches = []
    for number in range(16):
        owner, users = f"w{number}", ("ann", "bob", "ann") if number % 2 else ("bob", "ann", "bob")
        rows = [await claimed(db, user, owner) for user in users]
        batches.append((owner, [start(row, 1, 3, 1) for row in rows]))
    results = await asyncio.gather(*(record_charged_starts(starts, owner) for owner, starts in batches * 2))
    recorded = await db.fetch(
        "SELECT r.user_id, r.id FROM journal j JOIN runs r ON r.id = j.run_id ORDER BY r.user_id, r.id"
    )
    assert {run_id for outcomes in results for (run_id, _), one in outcomes.items() if one.paid} == {
        row["id"] for row in recorded
    }
    for user in ("ann", "bob"):
        keys = [f"{row['id']}-{seq}" for row in recorded if row["user_id"] == user for seq in (1, 2)]
        assert await charged_to(user) == sorted(keys)
        assert await credits.balance(user) == 0


async def test_the_count_at_a_runs_end_is_never_refused(db: Database) -> None:
    row = await claimed(db, "bob")
    charge = credits.executions_charge(row.id, row.graph_id, 250)
    assert await record(ChargedStart(write=start(row, 1).write, charges=[charge])) == PAID
    rich = await claimed(db)
    charge = credits.executions_charge(rich.id, rich.graph_id, 250)
    assert await record(ChargedStart(write=start(rich, 1).write, charges=[charge])) == PAID
    assert (await credits.balance("ann"), await credits.balance("bob")) == (8, 0)
    assert (await credits.history("ann"))[0].metadata["graph_exec_id"] == rich.id
