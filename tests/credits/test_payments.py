"""Buying credits, against a server that speaks Stripe's wire format, on the real database."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from agentplat.accounts.models import User
from agentplat.credits import payments
from agentplat.credits.gateway import Session
from agentplat.infra.db import Database
from tests.support.api import Api
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
