"""Charging stored cards: by itself when the balance comes below a threshold, and when that is switched on."""

import asyncio
from typing import Any

import httpx

from agentplat.accounts import service as accounts
from agentplat.credits import payments, service
from agentplat.credits.models import AutoTopUpConfig, Charge
from agentplat.credits.queries import ledger
from agentplat.credits.queries import payments as queries
from agentplat.infra.db import Database
from agentplat.infra.uow import unit_of_work
from tests.credits.test_payments import ANN, CREDITS, ok, statuses, top_ups
from tests.support.api import Api
from tests.support.locks import waiting
from tests.support.stripe import FakeStripe


async def with_card(
    stripe: FakeStripe, balance: int, threshold: int = 0, amount: int = 0, declined: bool = False
) -> str:
    """Ann with a stored card, a balance and settings for automatic top-ups. Returns the card."""
    accounts.forget_users()
    await accounts.ensure_user(ANN)
    await payments.portal(ANN)
    customer = next(name for name in stripe.objects if name.startswith("cus_"))
    card = stripe.add_card(customer)
    if balance:
        await service.grant(ANN.id, balance, "gift", "gift")
    if amount:
        await payments.set_auto_top_up(ANN, AutoTopUpConfig(amount=amount, threshold=threshold))
    if declined:
        stripe.declined.add(card)
    return card


async def test_a_balance_below_its_threshold_is_topped_up_once(stripe: FakeStripe, db: Database) -> None:
    """Many spend at once, and many workers look at once, again and again."""
    await with_card(stripe, 1000, threshold=900, amount=5000)

    async def spend(number: int) -> None:
        await service.spend(ANN.id, Charge(key=f"c{number}", amount=10))
        await payments.look_after_unfinished()

    await asyncio.gather(*(spend(number) for number in range(40)))
    await payments.look_after_unfinished()
    assert len(stripe.made("/v1/payment_intents")) == 1
    assert await top_ups(db) == [5000]
    assert await service.balance(ANN.id) == 1000 - 400 + 5000


async def test_nobody_is_charged_without_having_come_below(stripe: FakeStripe, db: Database) -> None:
    await with_card(stripe, 1000, threshold=500, amount=5000)
    await service.spend(ANN.id, Charge(key="c1", amount=500))
    await payments.look_after_unfinished()
    assert await statuses(db) == []
    # Who has credits again by other means, or has switched it off, isn't charged either.
    await service.spend(ANN.id, Charge(key="c2", amount=1))
    await service.grant(ANN.id, 1, "gift2", "gift")
    await payments.look_after_unfinished()
    await service.spend(ANN.id, Charge(key="c3", amount=1))
    await payments.set_auto_top_up(ANN, AutoTopUpConfig(amount=0, threshold=500))
    await payments.look_after_unfinished()
    assert await statuses(db) == []
    assert not await db.fetchval("SELECT top_up_due FROM balances")


async def test_all_cards_are_tried_and_a_failure_is_left_alone(stripe: FakeStripe, db: Database) -> None:
    await with_card(stripe, 1000, threshold=1000, amount=5000, declined=True)
    for number in range(3):
        await service.spend(ANN.id, Charge(key=f"c{number}", amount=1))
        await payments.look_after_unfinished()
    assert await statuses(db) == ["FAILED"]
    assert len(stripe.made("/v1/payment_intents")) == 1
    stripe.add_card(next(iter(stripe.cards)))
    await db.execute("UPDATE payments SET created_at = now() - interval '2 hours'")
    await service.spend(ANN.id, Charge(key="later", amount=1))
    await payments.look_after_unfinished()
    assert await statuses(db) == ["FAILED", "PAID"]
    assert len(stripe.made("/v1/payment_intents")) == 3
    assert await top_ups(db) == [5000]


async def test_a_charge_whose_answer_got_lost_is_not_made_twice(stripe: FakeStripe, db: Database) -> None:
    """Not even where another card stands first by now: the key of the first attempt says nothing about that one."""
    await with_card(stripe, 1000, threshold=1000, amount=5000)
    stripe.lost["/v1/payment_intents"] = 3  # the SDK tries three times
    await service.spend(ANN.id, Charge(key="c", amount=1))
    await payments.look_after_unfinished()
    assert await statuses(db) == ["PENDING"]
    (cards,) = stripe.cards.values()
    stripe.add_card(next(iter(stripe.cards)))
    cards.reverse()
    await db.execute("UPDATE payments SET attempt_at = now()")
    await payments.look_after_unfinished()
    assert len(stripe.made("/v1/payment_intents")) == 1
    assert await top_ups(db) == [5000]


async def test_settings_charge_a_low_balance_at_once_and_check_a_card_otherwise(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")

    async def setting(amount: int, threshold: int) -> httpx.Response:
        return await ann.post(f"{CREDITS}/auto-top-up", json={"amount": amount, "threshold": threshold})

    assert await ok(ann.get(f"{CREDITS}/auto-top-up")) == {"amount": 0, "threshold": 0}
    refused = await setting(500, 100)
    assert (refused.status_code, refused.json()["code"]) == (400, "no_card")
    assert await ok(ann.get(f"{CREDITS}/auto-top-up")) == {"amount": 0, "threshold": 0}
    card = await with_card(stripe, 50)
    stripe.declined.add(card)
    refused = await setting(500, 100)
    assert (refused.status_code, refused.json()["code"]) == (400, "card_declined")
    stripe.declined.clear()
    assert await ok(setting(500, 100)) == "Auto top-up settings updated"
    assert await ok(ann.get(CREDITS)) == {"credits": 550}
    assert await ok(setting(1000, 200)) == "Auto top-up settings updated"
    assert await ok(ann.get(f"{CREDITS}/auto-top-up")) == {"amount": 1000, "threshold": 200}
    assert await top_ups(db) == [500]
    assert len(stripe.made("/v1/setup_intents")) == 1
    stripe.cards.clear()
    assert await ok(setting(0, 0)) == "Auto top-up settings updated"


async def test_settings_that_are_sent_twice_at_once_charge_once(stripe: FakeStripe, api: Api, db: Database) -> None:
    await with_card(stripe, 0)
    body = {"amount": 5000, "threshold": 1000}
    answers = await asyncio.gather(*(api("ann").post(f"{CREDITS}/auto-top-up", json=body) for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert await top_ups(db) == [5000]


async def test_a_charge_that_has_just_ended_leaves_nothing_to_charge_for(stripe: FakeStripe, db: Database) -> None:
    """The overlap made certain: who saw a low balance opens a charge while the payment that fills it up commits."""
    await with_card(stripe, 50)
    first = await queries.open_charge("first", ANN.id, 5000, 1000)
    assert first is not None
    assert await queries.open_charge("second", ANN.id, 5000, 1000) is None
    settled, waited = asyncio.Event(), asyncio.Event()

    async def settle() -> None:
        async with unit_of_work():
            await payments.settle("first", "pi_first", None, 5000)
            settled.set()
            await waited.wait()

    settling = asyncio.create_task(settle())
    await settled.wait()
    late = asyncio.create_task(queries.open_charge("late", ANN.id, 5000, 1000))
    while not await waiting(db):
        assert not late.done()
    waited.set()
    await settling
    assert await late is None
    assert await top_ups(db) == [5000]


async def test_who_opens_a_charge_and_who_ends_one_do_not_block_each_other(stripe: FakeStripe, db: Database) -> None:
    await with_card(stripe, 50)
    assert await queries.open_charge("first", ANN.id, 5000, 1000)
    held, released = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with unit_of_work():
            await ledger.lock(ANN.id)
            held.set()
            await released.wait()

    holding = asyncio.create_task(hold())
    await held.wait()
    tasks: list[asyncio.Task[Any]] = []
    for call in (queries.open_charge("late", ANN.id, 5000, 1000), payments.settle("first", "pi_first", None, 5000)):
        tasks.append(asyncio.create_task(call))
        while await waiting(db) < len(tasks):
            assert not tasks[-1].done()
    released.set()
    await holding
    assert await asyncio.gather(*tasks) == [None, True]
    assert await top_ups(db) == [5000]


async def test_a_charge_that_stripe_refuses_is_not_tried_again(stripe: FakeStripe, api: Api, db: Database) -> None:
    card = await with_card(stripe, 50)
    stripe.refused.add(card)
    body = {"amount": 5000, "threshold": 1000}
    refused = await api("ann").post(f"{CREDITS}/auto-top-up", json=body)
    assert (refused.status_code, refused.json()["code"]) == (503, "payments_refused")
    assert await statuses(db) == ["FAILED"]
    stripe.refused.clear()
    await ok(api("ann").post(f"{CREDITS}/auto-top-up", json=body))
    assert await top_ups(db) == [5000]


async def test_settings_are_checked(stripe: FakeStripe, api: Api) -> None:
    for amount, threshold, member in (
        (500, -1, "threshold"),
        (100, 0, "amount"),
        (-5, 0, "amount"),
        (600, 601, "amount"),
    ):
        refused = await api("ann").post(f"{CREDITS}/auto-top-up", json={"amount": amount, "threshold": threshold})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", member]
