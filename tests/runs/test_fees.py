"""The execution fee of free blocks: taken with the end of a run, as often as the run ends, which is once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, timedelta

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.credits import service as credits
from agentplat.credits.models import Charge
from agentplat.engine.messages import NodeEnded, RunBegan, encode
from agentplat.engine.state import Status
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import get_settings
from agentplat.runs import commits, ending, mail, queries, turns
from agentplat.runs.commits import Ending, Write
from agentplat.runs.driver import Driver
from agentplat.runs.letters import Addressed, SubRunOutput
from agentplat.runs.models import RunRow
from agentplat.runs.nodes import now_us
from tests.support.drawing import EFFECT, STEP, STORE, draw
from tests.support.hosting import final
from tests.support.ledger import unsound_accounts
from tests.support.locks import waiting
from tests.support.switches import environment_of
from tests.support.world import ANN, save, start

LEASE = timedelta(seconds=60)
OVER = timedelta(seconds=-1)


@pytest.fixture(autouse=True)
async def funded(db: Database, redis: Redis) -> AsyncIterator[None]:
    """Ann has 10 credits."""
    with environment_of(ENABLE_CREDIT="true"):
        await queries.ensure_partition(now().astimezone(UTC).date())
        await save(draw({"a": (STORE, {"input": 1})}))
        await credits.grant(ANN.id, 10, "gift", "gift")
        yield
        assert await unsound_accounts(db) == []


async def claimed(owner: str = "w1", lease: timedelta = LEASE) -> RunRow:
    run = await start(await save(draw({"a": (STORE, {"input": 1})})))
    row = await turns.claim(run.id, owner, lease, now())
    assert row is not None
    return row


def end(row: RunRow, executions: int) -> Write:
    fee = credits.executions_charge(row.id, row.graph_id, executions)
    over = Ending(status=Status.COMPLETED, ended_at=now(), stats=b"{}", outputs=b"{}", node_executions=b"[]", fee=fee)
    day = row.created_at.astimezone(UTC).date()
    return Write(run_id=row.id, run_day=day, seq=1, fence=row.fence, body=b"[]", ending=over)


async def account(db: Database) -> tuple[int, int]:
    """Ann's balance, and the executions that are counted and not paid for."""
    row = await db.fetchrow("SELECT balance, executions FROM balances WHERE user_id = $1", ANN.id)
    assert row is not None
    return row["balance"], row["executions"]


@asynccontextmanager
async def account_locked(db: Database) -> AsyncIterator[None]:
    async with db.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM balances WHERE user_id = $1 FOR UPDATE", ANN.id)
        yield


async def test_the_fee_comes_with_the_end(db: Database) -> None:
    row = await claimed()
    await commits.commit([end(row, 250)], "w1")
    assert await account(db) == (8, 50)
    newest = (await credits.history(ANN.id))[0]
    assert (newest.amount, newest.metadata["graph_exec_id"]) == (-2, row.id)


async def test_an_end_that_is_sent_again_is_counted_once(db: Database) -> None:
    row = await claimed()
    for _ in range(3):
        await commits.commit([end(row, 250)], "w1")
    assert await account(db) == (8, 50)


async def test_an_end_that_is_sent_again_before_the_first_is_done_is_counted_once(db: Database) -> None:
    """The answer got lost, and the first sending is still under way in the database."""
    row = await claimed()
    async with account_locked(db):
        ending_ = [asyncio.create_task(commits.commit([end(row, 250)], "w1")) for _ in range(3)]
        while await waiting(db) < 3:
            assert not any(task.done() for task in ending_)
    await asyncio.gather(*ending_)
    assert await account(db) == (8, 50)


async def test_who_lost_the_lease_is_charged_nothing(db: Database) -> None:
    old = await claimed(lease=OVER)
    new = await turns.claim(old.id, "w1", LEASE, now())
    assert new is not None
    await commits.commit([end(old, 1000)], "w1")
    assert await account(db) == (10, 0)
    # Not either in the company of the one who holds it.
    await commits.commit([end(old, 1000), end(new, 100)], "w1")
    assert await account(db) == (9, 0)


async def test_an_end_and_a_claim_at_once_never_both_succeed(db: Database) -> None:
    """The commit was late: its run is somebody else's, or it is over and paid for."""
    ended = 0
    for turn in range(20):
        row = await claimed(f"w{turn}", OVER)
        taken, _ = await asyncio.gather(
            turns.claim(row.id, "other", LEASE, now()), commits.commit([end(row, 10)], f"w{turn}")
        )
        found = await queries.find(row.id)
        assert found is not None
        assert (found.status == Status.COMPLETED) == (taken is None)
        ended += taken is None
        balance, executions = await account(db)
        assert (10 - balance) * 100 + executions == 10 * ended


@pytest.mark.parametrize("together", [True, False])
async def test_runs_of_one_user_that_end_at_once_are_all_counted(db: Database, together: bool) -> None:
    rows = [await claimed(f"w{number % 4}") for number in range(16)]
    if together:
        batches = [(f"w{owner}", [end(row, 33) for row in rows[owner::4]]) for owner in range(4)]
    else:
        batches = [(f"w{number % 4}", [end(row, 33)]) for number, row in enumerate(rows)]
    held = await asyncio.gather(*(commits.commit(writes, owner) for owner, writes in batches))
    assert sum(len(one.held) for one in held) == 16
    assert await account(db) == (5, 28)


async def test_who_can_not_pay_is_not_stopped_and_nothing_is_forgotten(db: Database) -> None:
    await credits.grant(ANN.id, -9, "taken back", "taken back")
    await commits.commit([end(await claimed(), 350)], "w1")
    assert await account(db) == (0, 250)
    await credits.grant(ANN.id, 5, "more", "more")
    await commits.commit([end(await claimed(), 1)], "w1")
    assert await account(db) == (3, 51)


async def test_a_run_pays_for_its_free_executions(db: Database) -> None:
    graph = await save(draw({"st": (STEP, {"items": list(range(150))}), "b": (STORE, {})}, "st.item -> b.input"))
    run = await start(graph)
    async with Driver(get_settings()) as driver:
        await driver.accept(run.id)
        assert (await final(run))["stats"]["node_exec_count"] == 151
    assert await account(db) == (9, 51)


async def test_a_run_that_is_ended_for_its_user_pays_as_well(db: Database) -> None:
    graph = await save(draw({"a": (STORE, {"input": 1}), "e": (EFFECT, {"path": "", "v": 1})}))
    run = await start(graph)
    row = await turns.claim(run.id, "dead", OVER, now())
    assert row is not None
    at = now_us()
    body = encode([RunBegan(at), NodeEnded(1, at, [("output", 1)], None, at)])
    day = row.created_at.astimezone(UTC).date()
    await commits.commit([Write(run_id=row.id, run_day=day, seq=1, fence=1, body=body)], "dead")
    assert await ending.terminate([run.id])
    assert await account(db) == (10, 1)


async def test_nothing_is_counted_while_credits_are_switched_off(db: Database) -> None:
    run = await start(await save(draw({"a": (STORE, {"input": 1})})))
    with environment_of(ENABLE_CREDIT="false"):
        async with Driver(get_settings()) as driver:
            await driver.accept(run.id)
            await final(run)
    assert await account(db) == (10, 0)


async def test_ends_with_letters_and_fees_do_not_wait_in_a_circle(db: Database) -> None:
    """Two parents' mailboxes and one account, wanted by many at once, with and without the other."""
    parents = [await claimed("parents") for _ in range(2)]
    for parent in parents:
        await mail.open_mailbox(parent.id)
    letters = [Addressed(parent.id, SubRunOutput(1, "r", [7])) for parent in parents]
    tasks: list[Awaitable[object]] = []
    for number in range(24):
        owner = f"w{number}"
        write = end(await claimed(owner), 10)
        if number % 3:
            write = replace(write, letters=letters[:: 1 if number % 2 else -1])
        tasks.append(commits.commit([write], owner))
        tasks.append(credits.spend(ANN.id, Charge(key=str(number), amount=0, executions=1)))
        tasks.append(mail.deliver(letters[:: -1 if number % 2 else 1]))
    await asyncio.gather(*tasks)
    balance, executions = await account(db)
    assert (10 - balance) * 100 + executions == 24 * 11
