"""Buying credits, against a server that speaks Stripe's wire format, on the real database."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.credits import payments, service
from agentplat.credits.gateway import Session
from agentplat.credits.models import AutoTopUpConfig, Charge
from agentplat.credits.queries import ledger
from agentplat.credits.queries import payments as queries
from agentplat.infra.db import Database
from agentplat.infra.uow import unit_of_work
from tests.support.api import Api
from tests.support.locks import waiting
from tests.support.stripe import FakeStripe
from tests.support.switches import environment_of

CREDITS = "/api/credits"
WEBHOOK = f"{CREDITS}/stripe_webhook"
ANN = User(id="ann", email="ann@example.com")


async def ok(call: Any) -> Any:
    response: httpx.Response = await call
    assert response.status_code == 200, response.text
    return response.json() if response.content else None


async def begun(client: httpx.AsyncClient, amount: int = 500) -> str:
    """The id of a checkout session that the client has begun."""
    url: str = (await ok(client.post(CREDITS, json={"credit_amount": amount})))["checkout_url"]
    return url.rsplit("/", 1)[1]


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


async def top_ups(db: Database) -> list[int]:
    rows = await db.fetch("SELECT amount FROM credit_transactions WHERE type = 'TOP_UP' ORDER BY created_at")
    return [row["amount"] for row in rows]


async def statuses(db: Database) -> list[str]:
    return [row["status"] for row in await db.fetch("SELECT status FROM payments ORDER BY created_at")]


# --- by checkout


async def test_what_is_paid_is_credited_when_the_user_comes_back(stripe: FakeStripe, api: Api) -> None:
    ann = api("ann")
    session = await begun(ann, 700)
    await ok(ann.patch(CREDITS))
    assert await ok(ann.get(CREDITS)) == {"credits": 0}
    intent = stripe.pay(session)["payment_intent"]
    for _ in range(2):
        await ok(ann.patch(CREDITS))
        assert await ok(ann.get(CREDITS)) == {"credits": 700}
    (entry,) = (await ok(ann.get(f"{CREDITS}/transactions")))["transactions"]
    assert (entry["transaction_key"], entry["transaction_type"], entry["amount"]) == (intent, "TOP_UP", 700)
    (asked,) = stripe.made("/v1/checkout/sessions")
    assert (
        asked["line_items"]["0"]["price_data"] | {"currency": "usd", "unit_amount": "700"}
        == (asked["line_items"]["0"]["price_data"])
    )
    assert asked["success_url"] == "http://localhost:3000/profile/credits?topup=success"


async def test_the_months_refill_takes_nothing_from_what_is_paid_for(stripe: FakeStripe, api: Api) -> None:
    with environment_of(NUM_USER_CREDITS_REFILL="1500"):
        session = stripe.pay(await begun(api("ann"), 700))
        await ok(api().post(WEBHOOK, **stripe.event("checkout.session.completed", session)))
        assert await ok(api("ann").get(CREDITS)) == {"credits": 2200}


async def test_a_paid_page_is_found_behind_newer_ones_that_were_left(stripe: FakeStripe, api: Api) -> None:
    ann = api("ann")
    paid, expired, _ = [await begun(ann, amount) for amount in (500, 600, 800)]
    stripe.pay(paid)
    stripe.expire(expired)
    await ok(ann.patch(CREDITS))
    assert await ok(ann.get(CREDITS)) == {"credits": 500}


@pytest.mark.parametrize("order", [1, -1])
async def test_webhooks_and_browsers_at_once_credit_once(
    stripe: FakeStripe, api: Api, db: Database, order: int
) -> None:
    """C-1, many times over: two kinds of events, each delivered several times, and the user reloading the page."""
    ann, anybody = api("ann"), api()
    sessions = [await begun(ann, 500) for _ in range(6)]
    calls: list[Callable[[], Any]] = []
    for session_id in sessions:
        session = stripe.pay(session_id)
        intent = stripe.objects[session["payment_intent"]]
        told = [stripe.event("checkout.session.completed", session), stripe.event("payment_intent.succeeded", intent)]
        calls += [lambda event=event: anybody.post(WEBHOOK, **event) for event in told * 2]
        calls += [lambda: ann.patch(CREDITS)] * 2
    answers = await asyncio.gather(*(call() for call in calls[::order]))
    assert {answer.status_code for answer in answers} == {200}
    assert await ok(ann.get(CREDITS)) == {"credits": 3000}
    assert await top_ups(db) == [500] * 6
    assert set(await statuses(db)) == {"PAID"}


async def test_of_those_who_settle_a_payment_at_once_one_does(stripe: FakeStripe, api: Api, db: Database) -> None:
    session = msgspec.convert(stripe.pay(await begun(api("ann"))), Session)
    settled = await asyncio.gather(*(payments.settle_session(session) for _ in range(6)))
    assert sorted(settled) == [False] * 5 + [True]
    assert await top_ups(db) == [500]


async def test_an_event_that_overtakes_our_own_record_is_credited(stripe: FakeStripe, api: Api, db: Database) -> None:
    ann = api("ann")
    session = stripe.pay(await begun(ann))
    await db.execute("UPDATE payments SET session_id = NULL")
    await ok(api().post(WEBHOOK, **stripe.event("checkout.session.completed", session)))
    assert await top_ups(db) == [500]


async def test_a_session_is_known_by_its_id_and_by_nothing_else(stripe: FakeStripe, api: Api, db: Database) -> None:
    """Others may sell at the same account of Stripe's, and buyers may choose what their sessions refer to."""
    dear, cheap = await begun(api("ann"), 99900), await begun(api("ann"), 500)
    payment_id = stripe.objects[dear]["client_reference_id"]
    stranger = {"id": "cs_x", "payment_status": "paid", "payment_intent": "pi_x", "amount_total": 1}
    await ok(
        api().post(
            WEBHOOK, **stripe.event("checkout.session.completed", stranger | {"client_reference_id": payment_id})
        )
    )
    assert await top_ups(db) == []
    del stripe.objects[cheap]["client_reference_id"], stripe.objects[cheap]["amount_total"]
    session = {"id": cheap, "payment_status": "paid", "payment_intent": "pi_1"}
    await ok(api().post(WEBHOOK, **stripe.event("checkout.session.completed", session)))
    assert await top_ups(db) == [500]
    assert await db.fetchval("SELECT paid FROM payments WHERE intent_id = 'pi_1'") == 500
    assert await statuses(db) == ["PENDING", "PAID"]


async def test_who_pays_later_is_credited_later(stripe: FakeStripe, api: Api, db: Database) -> None:
    """Banks take days, and money may come for what was given up."""
    session = stripe.pay(await begun(api("ann")))
    for kind, members, credited in (
        ("checkout.session.completed", {"payment_status": "unpaid"}, []),
        ("checkout.session.async_payment_failed", {"payment_status": "unpaid"}, []),
        ("checkout.session.async_payment_succeeded", {}, [500]),
        ("checkout.session.expired", {"status": "expired"}, [500]),
    ):
        await ok(api().post(WEBHOOK, **stripe.event(kind, session, **members)))
        assert await top_ups(db) == credited
    assert await statuses(db) == ["PAID"]


async def test_what_nothing_was_paid_for_is_credited_and_can_not_be_refunded(stripe: FakeStripe, api: Api) -> None:
    ann = api("ann")
    session = stripe.pay(await begun(ann), discount=500)
    await ok(ann.patch(CREDITS))
    assert await ok(ann.get(CREDITS)) == {"credits": 500}
    refused = await ann.post(f"{CREDITS}/{session['id']}/refund", json={})
    assert (refused.status_code, refused.json()["code"]) == (400, "nothing_to_refund")


async def test_unpaid_pages_are_looked_at_by_somebody(stripe: FakeStripe, api: Api, db: Database) -> None:
    """The event got lost, and the user never came back."""
    ann = api("ann")
    paid, expired, _ = [await begun(ann) for _ in range(3)]
    stripe.pay(paid)
    stripe.expire(expired)
    await payments.look_after_unfinished()
    assert await top_ups(db) == []  # it is too early to worry
    await db.execute("UPDATE payments SET attempt_at = now()")
    await asyncio.gather(*(payments.look_after_unfinished() for _ in range(4)))
    assert await top_ups(db) == [500]
    assert await statuses(db) == ["PAID", "FAILED", "PENDING"]


async def test_customers_are_made_once(stripe: FakeStripe, api: Api, db: Database) -> None:
    ann = api("ann")
    await asyncio.gather(*(begun(ann) for _ in range(8)), ann.get(f"{CREDITS}/manage"))
    assert len(stripe.made("/v1/customers")) == 1
    customer = await db.fetchval("SELECT customer_id FROM stripe_customers")
    assert await ok(ann.get(f"{CREDITS}/manage")) == {"url": f"https://billing.stripe.test/{customer}"}


async def test_amounts_are_checked(stripe: FakeStripe, api: Api) -> None:
    for amount in (-500, 0, 499, 550, 100_000_000, 10**30):
        refused = await api("ann").post(CREDITS, json={"credit_amount": amount})
        assert refused.status_code == 400, amount
        assert refused.json()["detail"].startswith("credit_amount: ")
    assert stripe.done == []


# --- by itself


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


# --- when Stripe isn't there


async def test_a_stripe_that_does_not_answer_is_our_503(stripe: FakeStripe, api: Api) -> None:
    ann = api("ann")
    stripe.lost["/v1/checkout/sessions"] = 3
    refused = await ann.post(CREDITS, json={"credit_amount": 500})
    assert (refused.status_code, refused.json()["code"]) == (503, "payments_unavailable")
    # The SDK tries again by itself, under the same key, as long as it makes sense.
    stripe.lost["/v1/billing_portal/sessions"] = 2
    assert (await payments.portal(ANN)).startswith("https://billing.stripe.test/")
    assert len(stripe.made("/v1/billing_portal/sessions")) == 1


async def test_a_wrong_key_is_reported_and_not_repeated(
    stripe: FakeStripe, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    with environment_of(STRIPE_API_KEY="sk_live_wrong"):
        refused = await api("ann").post(CREDITS, json={"credit_amount": 500})
    assert (refused.status_code, refused.json()["code"]) == (409, "payments_not_configured")
    logged = capsys.readouterr().out
    assert "stripe_refuses_the_key" in logged
    assert "sk_live" not in refused.text + logged


async def test_without_stripe_what_needs_it_says_so(api: Api, enabled: None) -> None:
    ann = api("ann")
    for call in (
        ann.post(CREDITS, json={"credit_amount": 500}),
        ann.post(f"{CREDITS}/auto-top-up", json={"amount": 500, "threshold": 100}),
        ann.get(f"{CREDITS}/manage"),
    ):
        refused = await call
        assert (refused.status_code, refused.json()["code"]) == (409, "payments_not_configured"), refused.url
    await ok(ann.patch(CREDITS))
    await ok(ann.post(f"{CREDITS}/auto-top-up", json={"amount": 0, "threshold": 0}))
    assert await ok(ann.get(CREDITS)) == {"credits": 0}


async def test_switched_off_credits_answer_as_the_contract_has_it(api: Api) -> None:
    ann = api("ann")
    assert await ok(ann.get(CREDITS)) == {"credits": 100}
    assert await ok(ann.post(CREDITS, json={"credit_amount": 500})) == {"checkout_url": ""}
    await ok(ann.patch(CREDITS))
    assert await ok(ann.get(f"{CREDITS}/transactions")) == {"transactions": [], "next_transaction_time": None}
    assert await ok(ann.get(f"{CREDITS}/refunds")) == []
    assert await ok(ann.post(f"{CREDITS}/pi_1/refund", json={})) == 0
