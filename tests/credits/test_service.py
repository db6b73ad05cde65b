"""The ledger on the real database: what is granted and spent, once, and never below zero."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import asyncpg
import pytest

from agentplat.credits import service
from agentplat.credits.errors import InsufficientBalance, KeyReused, UnknownUser
from agentplat.credits.models import Charge, Cost, TransactionType, Usage
from agentplat.credits.queries import ledger
from agentplat.infra.db import Database
from agentplat.infra.errors import PaymentRequired
from agentplat.infra.uow import unit_of_work
from tests.support.ledger import unsound_accounts
from tests.support.locks import waiting

USERS = ("ann", "bob", "cid")


@pytest.fixture
async def users(db: Database, enabled: None) -> None:
    await db.execute("INSERT INTO users (id) SELECT unnest($1::text[])", list(USERS))


def charge(key: str, amount: int, executions: int = 0) -> Charge:
    return Charge(key=key, amount=amount, executions=executions, usage=Usage(graph_exec_id="run", reason="Ran"))


async def test_switched_off_credits_are_enough_for_everything_and_ask_nobody() -> None:
    # No database is open here.
    assert await service.balance("anybody") == 100
    assert await service.spend("anybody", charge("k", 1_000_000)) == 100
    assert await service.grant("anybody", 5, "k", "gift") == 100
    assert await service.history("anybody") == []
    assert service.cost_of([], {}) == Cost(amount=0)


async def test_a_balance_is_what_was_granted_less_what_was_spent(users: None, db: Database) -> None:
    assert [await service.balance(user) for user in ("ann", "nobody")] == [0, 0]
    assert await service.grant("ann", 250, "g1", "welcome") == 250
    assert await service.spend("ann", charge("c1", 100)) == 150
    assert await service.grant("ann", 5, "g2", "more") == 155
    assert await service.balance("ann") == 155
    rows = await service.history("ann")
    assert [(row.transaction_key, row.type, row.amount, row.running_balance) for row in rows] == [
        ("g2", TransactionType.GRANT, 5, 155),
        ("c1", TransactionType.USAGE, -100, 150),
        ("g1", TransactionType.GRANT, 250, 250),
    ]
    assert rows[1].metadata == {"graph_exec_id": "run", "reason": "Ran"}
    assert await service.history("ann", limit=1) == rows[:1]
    assert await unsound_accounts(db) == []


@pytest.mark.parametrize(
    ("funds", "cost", "text"),
    [
        (0, 1, "Insufficient balance of $0.00, where this will cost $0.01"),
        (299, 1250, "Insufficient balance of $2.99, where this will cost $12.50"),
    ],
)
async def test_what_is_not_covered_is_refused_and_leaves_no_trace(
    users: None, db: Database, funds: int, cost: int, text: str
) -> None:
    if funds:
        await service.grant("ann", funds, "g", "gift")
    with pytest.raises(InsufficientBalance) as refused:
        await service.spend("ann", charge("c", cost, executions=500))
    assert str(refused.value) == text
    assert isinstance(refused.value, PaymentRequired)
    assert await service.balance("ann") == funds
    assert len(await service.history("ann")) == (funds > 0)
    assert not await db.fetchval("SELECT sum(executions) FROM balances")
    assert await service.spend("ann", charge("c", funds)) == 0


async def test_after_a_refund_below_zero_nothing_can_be_spent(users: None, db: Database) -> None:
    await db.execute("INSERT INTO balances (user_id, balance) VALUES ('ann', -5)")
    with pytest.raises(InsufficientBalance, match=r"balance of \$-0\.05, where this will cost \$0\.01"):
        await service.spend("ann", charge("c", 1))
    assert await service.spend("ann", charge("free", 0, executions=300)) == -5


async def test_a_key_counts_once(users: None, db: Database) -> None:
    for _ in range(3):
        assert await service.grant("ann", 10, "g", "gift") == 10
    for _ in range(3):
        assert await service.spend("ann", charge("c", 4)) == 6
    # Paid is paid, also when the balance would not cover it again; and keys are each user's own.
    assert await service.spend("ann", charge("d", 6)) == 0
    assert await service.spend("ann", charge("d", 6)) == 0
    assert await service.grant("bob", 10, "g", "gift") == 10
    with pytest.raises(KeyReused):
        await service.grant("ann", 11, "g", "gift")
    assert await unsound_accounts(db) == []


async def test_a_key_counts_once_for_all_who_use_it_at_the_same_time(users: None, db: Database) -> None:
    balances = await asyncio.gather(*(service.grant("ann", 10, "g", "gift") for _ in range(8)))
    assert set(balances) == {10}
    balances = await asyncio.gather(*(service.spend("ann", charge("c", 4)) for _ in range(8)))
    assert set(balances) == {6}
    assert len(await service.history("ann")) == 2
    assert await unsound_accounts(db) == []


async def test_the_first_credits_of_a_user_may_come_from_many_sides_at_once(users: None, db: Database) -> None:
    await asyncio.gather(*(service.grant(user, 10 + n, f"g{n}", "gift") for n in range(10) for user in USERS))
    assert [await service.balance(user) for user in USERS] == [145, 145, 145]
    assert await unsound_accounts(db) == []


async def test_nobody_spends_more_than_there_is(users: None, db: Database) -> None:
    await service.grant("ann", 10, "g", "gift")
    results = await asyncio.gather(
        *(service.spend("ann", charge(f"c{n}", 3)) for n in range(50)), return_exceptions=True
    )
    assert sorted(result for result in results if isinstance(result, int)) == [1, 4, 7]
    refused = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in refused} == {InsufficientBalance}
    # They were all refused by what the balance was in the end, not by what it was when they began to wait.
    assert {str(error) for error in refused} == {"Insufficient balance of $0.01, where this will cost $0.03"}
    assert await unsound_accounts(db) == []


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_at_once_balances_are_the_sums_of_their_ledgers(
    users: None, db: Database, seed: int
) -> None:
    chance = Random(seed)
    paid: set[tuple[str, str]] = set()

    async def act(number: int) -> None:
        user, key = chance.choice(USERS), f"k{chance.randrange(30)}"
        if chance.random() < 0.4:
            await service.grant(user, 20, f"g-{key}", "gift")
            return
        try:
            await service.spend(user, charge(key, 1 + int(key[1:]) % 9, executions=40))
        except InsufficientBalance:
            return
        paid.add((user, key))

    await asyncio.gather(*(act(number) for number in range(50)))
    assert await unsound_accounts(db) == []
    rows = await db.fetch(
        "SELECT user_id, transaction_key FROM credit_transactions"
        " WHERE type = 'USAGE' AND transaction_key NOT LIKE '%-fee'"
    )
    assert {(row["user_id"], row["transaction_key"]) for row in rows} == paid


async def test_who_meets_an_open_transaction_waits_and_sees_what_became_of_it(users: None, db: Database) -> None:
    """The overlaps that lose money where balances are read before they are locked, made certain."""

    async def overlapping(first: Callable[[], Awaitable[int]], second: Callable[[], Awaitable[int]]) -> int:
        begun, waited = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with unit_of_work():
                await first()
                begun.set()
                await waited.wait()

        holder = asyncio.create_task(hold())
        await begun.wait()
        late = asyncio.create_task(second())
        while not await waiting(db):
            assert not late.done()
        waited.set()
        await holder
        return await late

    def grant(amount: int, key: str) -> Callable[[], Awaitable[int]]:
        return lambda: service.grant("ann", amount, key, "gift")

    def spend(amount: int, key: str) -> Callable[[], Awaitable[int]]:
        return lambda: service.spend("ann", charge(key, amount))

    assert await overlapping(grant(100, "g1"), grant(200, "g2")) == 300  # her first two
    assert await overlapping(grant(50, "g3"), grant(50, "g3")) == 350
    assert await overlapping(spend(50, "c1"), spend(50, "c1")) == 300
    assert await overlapping(spend(100, "c2"), grant(1, "g4")) == 201
    assert await overlapping(grant(9, "g5"), spend(210, "c3")) == 0
    await service.grant("ann", 5, "g6", "gift")
    with pytest.raises(InsufficientBalance, match=r"\$0\.01, where this will cost \$0\.04"):
        await overlapping(spend(4, "c4"), spend(4, "c5"))
    # What it would be refused for is its own payment.
    assert await overlapping(spend(1, "c6"), spend(1, "c6")) == 0
    assert await unsound_accounts(db) == []


async def test_every_full_hundred_executions_cost_a_credit(users: None, db: Database) -> None:
    await service.grant("ann", 100, "g", "gift")
    chance = Random(1)
    counts = [chance.choice([1, 30, 99, 100, 250]) for _ in range(20)]
    for number, count in enumerate(counts):
        balance = await service.spend("ann", charge(f"c{number}", 1, executions=count))
        assert balance == 100 - (number + 1) - sum(counts[: number + 1]) // 100
    fees = [row for row in await service.history("ann") if row.transaction_key.endswith("-fee")]
    assert -sum(row.amount for row in fees) == sum(counts) // 100
    assert fees[0].metadata == {
        "graph_exec_id": "run",
        "input": {"execution_count": 100, "charge": "Execution Cost"},
        "reason": "Execution Cost",
    }
    assert await unsound_accounts(db) == []


async def test_a_fee_that_is_not_covered_stays_owed(users: None, db: Database) -> None:
    await service.grant("ann", 3, "g", "gift")
    assert await service.spend("ann", charge("c1", 2, executions=350)) == 0
    assert await service.spend("ann", charge("c2", 0, executions=10)) == 0
    await service.grant("ann", 5, "g2", "gift")
    assert await service.spend("ann", charge("c3", 1)) == 2
    assert await db.fetchval("SELECT executions FROM balances WHERE user_id = 'ann'") == 60
    assert await unsound_accounts(db) == []


async def book(amount: int, key: str, kind: TransactionType = TransactionType.GRANT) -> int:
    return (await ledger.add("ann", amount, key, kind, b"{}")).balance


async def test_a_balance_ends_where_an_integer_of_32_bits_does(users: None, db: Database) -> None:
    most = 2**31 - 1
    assert await book(most - 100, "first") == most - 100
    for _ in range(2):  # repeated, it is still the same one
        assert await book(200, "second") == most
    newest = (await service.history("ann"))[0]
    assert (newest.amount, newest.running_balance) == (100, most)
    assert await asyncio.gather(*(book(5, f"on-top-{number}") for number in range(10))) == [most] * 10
    assert await service.spend("ann", charge("c", 7)) == most - 7
    assert await unsound_accounts(db) == []


async def test_debts_end_there_as_well(users: None, db: Database) -> None:
    least = -(2**31)
    await asyncio.gather(*(book(-(2**29), f"refund-{number}", TransactionType.REFUND) for number in range(10)))
    assert await service.balance("ann") == least
    assert await book(-1, "more", TransactionType.REFUND) == least
    assert await book(10, "gift") == least + 10
    assert await unsound_accounts(db) == []


async def test_a_charge_within_a_unit_of_work_is_undone_with_it(users: None, db: Database) -> None:
    await service.grant("ann", 3, "g", "gift")

    async def spend_and_fail() -> None:
        async with unit_of_work():
            assert await service.spend("ann", charge("c", 2)) == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await spend_and_fail()
    assert await service.balance("ann") == 3
    assert await unsound_accounts(db) == []


async def test_users_who_do_not_exist_get_nothing(users: None, db: Database) -> None:
    with pytest.raises(UnknownUser):
        await service.grant("nobody", 5, "g", "gift")
    with pytest.raises(InsufficientBalance):
        await service.spend("nobody", charge("c", 1))
    assert await db.fetchval("SELECT count(*) FROM credit_transactions") == 0


async def test_the_database_refuses_what_the_code_should_never_ask_for(users: None, db: Database) -> None:
    await service.grant("ann", 10, "g", "gift")
    with pytest.raises(asyncpg.CheckViolationError, match="spending_takes"):
        await service.spend("ann", charge("c", -5))
    with pytest.raises(asyncpg.CheckViolationError, match="spending_leaves_no_debt"):
        await db.execute(
            "INSERT INTO credit_transactions (user_id, transaction_key, amount, type, running_balance, metadata,"
            " created_at) VALUES ('ann', 'x', -1, 'USAGE', -1, '', now())"
        )
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM users WHERE id = 'ann'")
    for change in ("UPDATE credit_transactions SET amount = 20", "DELETE FROM credit_transactions"):
        with pytest.raises(asyncpg.RestrictViolationError, match="only ever added"):
            await db.execute(change)
    assert await service.balance("ann") == 10
