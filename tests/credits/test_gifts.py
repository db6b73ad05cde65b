"""Credits that nobody pays for: rewards, and the refill at the start of a month."""

import asyncio

import pytest

from agentplat.credits import service
from agentplat.credits.errors import UnknownUser
from agentplat.credits.models import Charge
from agentplat.credits.queries import ledger
from agentplat.infra.db import Database
from tests.support.ledger import unsound_accounts
from tests.support.switches import environment_of


@pytest.fixture
async def users(db: Database, enabled: None) -> None:
    await db.execute("INSERT INTO users (id) VALUES ('ann'), ('bob')")


async def test_a_step_is_rewarded_once_however_many_say_so_at_once(users: None, db: Database) -> None:
    given = await asyncio.gather(*(service.reward("ann", "AGENT_NEW_RUN", 300) for _ in range(5)))
    assert sorted(given) == [False] * 4 + [True]
    assert not await service.reward("ann", "AGENT_NEW_RUN", 500)
    assert await service.reward("ann", "SCHEDULE_AGENT", 100)
    assert await service.reward("bob", "SCHEDULE_AGENT", 100)
    assert not await service.reward("bob", "GET_RESULTS", 0)
    assert [await service.balance(user) for user in ("ann", "bob")] == [400, 100]
    newest = (await service.history("ann"))[0]
    assert newest.transaction_key == "REWARD-ann-SCHEDULE_AGENT"
    assert newest.metadata == {"reason": "Reward for completing SCHEDULE_AGENT onboarding step."}
    assert await unsound_accounts(db) == []


async def test_nothing_is_given_while_credits_are_switched_off() -> None:
    assert not await service.reward("ann", "AGENT_NEW_RUN", 300)


async def test_a_month_begins_with_a_balance_of_at_least_the_refill(users: None, db: Database) -> None:
    async def month(name: str) -> int:
        balances = await asyncio.gather(*(ledger.refilled_balance("ann", 1000, name) for _ in range(8)))
        assert len(set(balances)) == 1
        return balances[0]

    assert await month("2026-01") == 1000
    await service.grant("ann", 100, "gift", "gift")
    assert await month("2026-01") == await month("2026-02") == 1100
    await service.spend("ann", Charge(key="c", amount=700))
    assert await month("2026-02") == 400
    assert await month("2026-03") == 1000
    await service.spend("ann", Charge(key="d", amount=1))
    assert await month("2026-02") == await month("2026-01") == await month("2026-03") == 999
    refills = [row for row in await service.history("ann") if row.transaction_key.startswith("MONTHLY-")]
    assert [(row.transaction_key[-7:], row.amount) for row in refills] == [("2026-03", 600), ("2026-01", 1000)]
    assert await unsound_accounts(db) == []


async def test_the_first_refill_and_other_credits_at_once_all_count(users: None, db: Database) -> None:
    """What comes before the refill counts towards it, and what comes after counts on top: nothing gets lost."""
    await asyncio.gather(
        *(service.grant("ann", 10, f"g{number}", "gift") for number in range(10)),
        *(ledger.refilled_balance("ann", 1000, "2026-01") for _ in range(10)),
    )
    assert 1000 <= await service.balance("ann") <= 1100
    assert await unsound_accounts(db) == []


async def test_the_refill_takes_nothing_from_what_else_is_given(users: None, db: Database) -> None:
    """Whether or not somebody has looked at the balance before."""
    with environment_of(ENABLE_CREDIT="true", NUM_USER_CREDITS_REFILL="1500"):
        assert await service.reward("ann", "AGENT_NEW_RUN", 300)
        assert await service.balance("ann") == 1800
        assert await service.grant_by_admin("root", "bob", 100, "sorry", "key") == 1600
        with pytest.raises(UnknownUser):
            await service.grant_by_admin("root", "nobody", 100, "sorry", "key")
    assert await unsound_accounts(db) == []


async def test_the_setting_fills_up_everybody_who_asks_and_nobody_else(users: None, db: Database) -> None:
    with environment_of(ENABLE_CREDIT="true", NUM_USER_CREDITS_REFILL="1500"):
        assert await service.balance("ann") == 1500
        assert await service.balance("nobody") == 0
    assert await service.balance("bob") == 0
