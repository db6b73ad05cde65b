"""Giving money back: requests, what Stripe says of them in whatever order, and disputes."""

import asyncio
from itertools import permutations
from typing import Any

import httpx
import msgspec
import pytest

from agentplat.accounts import service as accounts
from agentplat.credits import payments, refunds, service
from agentplat.credits.gateway import Refund, Session
from agentplat.credits.models import Charge
from agentplat.infra.db import Database
from agentplat.infra.uow import unit_of_work
from tests.credits.test_payments import ANN, CREDITS, WEBHOOK, begun, ok
from tests.support.api import Api
from tests.support.locks import waiting
from tests.support.stripe import FakeStripe


async def bought(stripe: FakeStripe, client: httpx.AsyncClient, amount: int = 1000, discount: int = 0) -> str:
    """The key of a top-up that was paid."""
    session = stripe.pay(await begun(client, amount), discount)
    await ok(client.patch(CREDITS))
    key: str = session["payment_intent"]
    return key


async def spend(amount: int, key: str = "spent") -> None:
    await service.spend(ANN.id, Charge(key=key, amount=amount))


async def refund(client: httpx.AsyncClient, key: str, **details: str) -> httpx.Response:
    return await client.post(f"{CREDITS}/{key}/refund", json=details)


async def tell(api: Api, *events: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(api().post(WEBHOOK, **event) for event in events))
    assert [answer.status_code for answer in answers] == [200] * len(events), [answer.text for answer in answers]


async def requests_of(client: httpx.AsyncClient) -> list[str]:
    return [one["status"] for one in await ok(client.get(f"{CREDITS}/refunds"))]


async def reversals(db: Database) -> dict[str, int]:
    rows = await db.fetch("SELECT transaction_key, amount FROM credit_transactions WHERE type = 'REFUND'")
    return {row["transaction_key"]: row["amount"] for row in rows}


async def test_a_top_up_is_refunded_at_once_while_its_credits_are_there(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    await spend(500)
    assert await ok(refund(ann, key, reason="too much", ticket="7")) == 1000
    (sent,) = stripe.made("/v1/refunds")
    assert sent["payment_intent"] == key
    assert sent["metadata"] | {"reason": "too much", "ticket": "7"} == sent["metadata"]
    # Some may be spent already; then there is a debt, and nothing can be spent until it is paid.
    assert await ok(ann.get(CREDITS)) == {"credits": -500}
    (shown,) = await ok(ann.get(f"{CREDITS}/refunds"))
    expected = {"transaction_key": key, "amount": 1000, "reason": "too much", "status": "APPROVED", "user_id": "ann"}
    assert shown | expected == shown
    refused = await refund(ann, key)
    assert (refused.status_code, refused.json()["code"]) == (400, "nothing_to_refund")
    (made,) = (one for name, one in stripe.objects.items() if name.startswith("re_"))
    await tell(api, *(stripe.event(kind, made) for kind in ("refund.created", "refund.updated") * 2))
    assert await reversals(db) == {made["id"]: -1000}


async def test_a_refund_that_is_asked_for_many_times_at_once_is_made_once(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    answers = await asyncio.gather(*(refund(ann, key, reason=str(number)) for number in range(6)))
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert 200 in {answer.status_code for answer in answers}
    assert list((await reversals(db)).values()) == [-1000]
    assert await ok(ann.get(CREDITS)) == {"credits": 0}


async def test_a_person_decides_where_too_much_was_spent(stripe: FakeStripe, api: Api, db: Database) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    await spend(501)
    for _ in range(2):
        assert await ok(refund(ann, key, reason="sorry")) == 0
    assert await requests_of(ann) == ["PENDING"]
    assert stripe.made("/v1/refunds") == []
    await tell(api, stripe.event("refund.created", stripe.refund(key, 400)))
    assert await requests_of(ann) == ["APPROVED"]
    assert await ok(ann.get(CREDITS)) == {"credits": 99}
    # The rest can still be asked for, and is all that is given.
    await service.grant(ANN.id, 1, "gift", "gift")
    assert await ok(refund(ann, key)) == 600
    assert sorted((await reversals(db)).values()) == [-600, -400]


async def test_a_request_without_an_answer_goes_on_when_it_is_repeated(stripe: FakeStripe, api: Api) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    stripe.lost["/v1/refunds"] = 3
    refused = await refund(ann, key, reason="first")
    assert (refused.status_code, refused.json()["code"]) == (503, "payments_unavailable")
    assert await ok(refund(ann, key, reason="again")) == 1000
    assert len(stripe.made("/v1/refunds")) == 1
    assert await requests_of(ann) == ["APPROVED"]


async def test_credits_that_one_refund_counts_on_are_not_there_for_another(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    """Half of what was bought is spent, so one of the two can go back; also while Stripe's answer is not there."""
    ann = api("ann")
    keys = [await bought(stripe, ann), await bought(stripe, ann)]
    await spend(1000)
    stripe.lost["/v1/refunds"] = 3
    assert (await refund(ann, keys[0])).status_code == 503
    assert await ok(refund(ann, keys[1])) == 0
    assert await ok(refund(ann, keys[0])) == 1000
    assert await ok(refund(ann, keys[1])) == 0
    assert await requests_of(ann) == ["PENDING", "APPROVED"]
    assert list((await reversals(db)).values()) == [-1000]
    # What waits for a person counts on nothing, and neither does what is over.
    await service.grant(ANN.id, 1000, "gift", "gift")
    third = await bought(stripe, ann)
    assert await ok(refund(ann, third)) == 1000
    stripe.refund(keys[1], 1000)  # in the dashboard; the event is still on its way
    assert (await refund(ann, keys[1])).status_code == 409
    assert await ok(refund(ann, await bought(stripe, ann))) == 1000


async def test_refunds_of_many_top_ups_at_once_give_back_no_more_than_is_there(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    keys = [await bought(stripe, ann) for _ in range(5)]
    await spend(3000)
    answers = await asyncio.gather(*(ok(refund(ann, key)) for key in keys * 2 if key), return_exceptions=True)
    assert sum(stripe.objects[name]["amount"] for name in stripe.objects if name.startswith("re_")) == 2000
    assert len([answer for answer in answers if answer == 0]) == 6
    assert await ok(ann.get(CREDITS)) == {"credits": 0}


async def test_a_refund_that_stripe_refuses_is_rejected(stripe: FakeStripe, api: Api) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    stripe.refund(key, 1000)  # in the dashboard; the event is still on its way
    refused = await refund(ann, key)
    assert (refused.status_code, refused.json()["code"]) == (409, "refund_refused")
    assert await requests_of(ann) == ["REJECTED"]
    assert await ok(ann.get(CREDITS)) == {"credits": 1000}


STATES = {
    "refund.created": "pending",
    "refund.updated": "succeeded",
    "refund.failed": "failed",
}


@pytest.mark.parametrize("order", list(permutations(STATES)), ids=" ".join)
async def test_the_order_in_which_stripe_tells_of_a_refund_does_not_matter(
    stripe: FakeStripe, api: Api, db: Database, order: tuple[str, ...]
) -> None:
    """It failed, so in the end nothing is taken, whatever came first and however often."""
    ann = api("ann")
    key = await bought(stripe, ann)
    made = stripe.refund(key, 600)
    for kind in order:
        await tell(api, *(stripe.event(kind, made, status=STATES[kind]) for _ in range(2)))
        taken = sum((await reversals(db)).values())
        assert taken == (0 if "refund.failed" in order[: order.index(kind) + 1] else -600)
    assert await ok(ann.get(CREDITS)) == {"credits": 1000}


@pytest.mark.parametrize("order", list(permutations(("first", "failure", "second"))), ids=" ".join)
async def test_a_refund_that_is_made_again_is_taken_whatever_is_told_first(
    stripe: FakeStripe, api: Api, db: Database, order: tuple[str, ...]
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    await spend(501)
    assert await ok(refund(ann, key)) == 0
    first, second = stripe.refund(key, 1000), stripe.refund(key, 1000)
    events = {
        "first": stripe.event("refund.created", first),
        "failure": stripe.event("refund.failed", first, status="failed"),
        "second": stripe.event("refund.created", second),
    }
    for name in order:
        await tell(api, *[events[name]] * 2)
    assert sum((await reversals(db)).values()) == -1000
    assert await ok(ann.get(CREDITS)) == {"credits": -501}
    assert await requests_of(ann) == ["APPROVED"]
    await tell(api, stripe.event("refund.failed", second, status="failed"))
    assert sum((await reversals(db)).values()) == 0
    assert await requests_of(ann) == ["REJECTED"]


async def test_refunds_of_one_payment_at_once_take_no_more_than_it_gave(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann)
    made = [stripe.refund(key, 300) for _ in range(5)]
    await tell(api, *(stripe.event("refund.created", one) for one in made * 3))
    assert sorted((await reversals(db)).values()) == [-300, -300, -300, -100]
    assert await ok(ann.get(CREDITS)) == {"credits": 0}


async def test_a_refund_that_overtakes_its_payment_is_made_up_for(stripe: FakeStripe, api: Api, db: Database) -> None:
    ann = api("ann")
    session = stripe.pay(await begun(ann, 1000))
    made = stripe.refund(session["payment_intent"], 400)
    failed = stripe.refund(session["payment_intent"], 100)
    await tell(api, stripe.event("refund.created", made), stripe.event("refund.failed", failed, status="failed"))
    assert await reversals(db) == {}
    await tell(api, stripe.event("checkout.session.completed", session), stripe.event("refund.updated", made))
    assert await reversals(db) == {made["id"]: -400}
    assert await ok(ann.get(CREDITS)) == {"credits": 600}


async def test_a_payment_and_its_refund_that_arrive_together_both_count(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    events = []
    for _ in range(8):
        session = stripe.pay(await begun(ann, 500))
        made = stripe.refund(session["payment_intent"], 500)
        events += [stripe.event("checkout.session.completed", session), stripe.event("refund.created", made)]
    await tell(api, *events)
    assert list((await reversals(db)).values()) == [-500] * 8
    assert await ok(ann.get(CREDITS)) == {"credits": 0}


@pytest.mark.parametrize("first", ["payment", "refund"])
async def test_a_payment_and_its_refund_wait_for_each_other(
    stripe: FakeStripe, api: Api, db: Database, first: str
) -> None:
    """The overlap in which each would miss the other, made certain: one is done and not committed yet."""
    session = stripe.pay(await begun(api("ann"), 500))
    made = msgspec.convert(stripe.refund(session["payment_intent"], 500), Refund)
    paid = msgspec.convert(session, Session)
    begun_, waited = asyncio.Event(), asyncio.Event()

    async def settle() -> None:
        await payments.settle_session(paid)

    async def take() -> None:
        await refunds.follow(made)

    early, late = (settle, take) if first == "payment" else (take, settle)

    async def hold() -> None:
        async with unit_of_work():
            await early()
            begun_.set()
            await waited.wait()

    holder = asyncio.create_task(hold())
    await begun_.wait()
    follower = asyncio.create_task(late())
    while not await waiting(db):
        assert not follower.done()
    waited.set()
    await asyncio.gather(holder, follower)
    assert await reversals(db) == {made.id: -500}
    assert await service.balance(ANN.id) == 0


async def test_what_was_bought_at_a_discount_is_refunded_in_proportion(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann, 1000, discount=700)
    for amount in (100, 200):
        await tell(api, stripe.event("refund.created", stripe.refund(key, amount)))
    assert sorted((await reversals(db)).values()) == [-666, -334]


async def test_charges_that_are_not_ours_change_nothing(stripe: FakeStripe, api: Api, db: Database) -> None:
    await tell(
        api,
        stripe.event("refund.created", stripe.refund("pi_other", 400)),
        stripe.event("charge.dispute.created", stripe.dispute("pi_other", 400)),
        stripe.event("checkout.session.completed", {"id": "cs_x", "payment_status": "paid", "payment_intent": "pi_x"}),
        stripe.event(
            "payment_intent.succeeded", {"id": "pi_y", "status": "succeeded", "metadata": {"payment_id": "?"}}
        ),
        stripe.event("customer.created", {"id": "cus_x"}),
    )
    assert await db.fetchval("SELECT count(*) FROM credit_transactions") == 0


async def test_only_ones_own_top_ups_can_be_refunded(stripe: FakeStripe, api: Api) -> None:
    key = await bought(stripe, api("ann"))
    await spend(1)
    for asking, asked in (("bob", key), ("ann", "pi_none"), ("ann", "%00"), ("ann", "spent")):
        refused = await refund(api(asking), asked)
        assert (refused.status_code, refused.json()["code"]) == (404, "top_up_not_found")
        assert refused.json()["message"] == "There is no such top-up."
    assert stripe.made("/v1/refunds") == []


async def test_what_goes_along_is_checked(stripe: FakeStripe, api: Api) -> None:
    many = {str(number): "x" for number in range(21)}
    for details in ({"reason": "x" * 501}, {"reason": "\0"}, {"": "x"}, {"a[b]": "x"}, many):
        refused = await api("ann").post(f"{CREDITS}/pi_1/refund", json=details)
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"][0]["loc"][0] == "body"


# --- disputes


@pytest.mark.parametrize(("spent", "conceded"), [(0, True), (501, False)])
async def test_a_dispute_is_answered_once(
    stripe: FakeStripe, api: Api, db: Database, spent: int, conceded: bool
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann, 1500)
    if spent:
        await spend(spent)
    dispute = stripe.dispute(key, 1000)
    await tell(api, stripe.event("charge.dispute.created", dispute))
    await tell(api, *(stripe.event("charge.dispute.created", dispute) for _ in range(3)))
    closed = stripe.made(f"/v1/disputes/{dispute['id']}/close")
    contested = stripe.made(f"/v1/disputes/{dispute['id']}")
    assert (len(closed), len(contested)) == ((1, 0) if conceded else (0, 1))
    if contested:
        assert contested[0]["evidence"]["customer_email_address"] == "ann@example.com"
        assert "USAGE -501" in contested[0]["evidence"]["uncategorized_text"]
    assert await ok(ann.get(CREDITS)) == {"credits": 1500 - spent}
    assert await reversals(db) == {}


async def test_a_dispute_takes_its_credits_when_it_is_lost_and_only_then(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    key = await bought(stripe, ann, 1500)
    won, lost = stripe.dispute(key, 500), stripe.dispute(key, 700)
    closed = "charge.dispute.closed"
    await tell(api, *(stripe.event(closed, won, status="won"), stripe.event(closed, lost, status="lost")) * 2)
    # That it had been opened may be told last, and needs no answer any more.
    await tell(api, stripe.event("charge.dispute.created", lost))
    assert await reversals(db) == {lost["id"]: -700}
    assert stripe.made(f"/v1/disputes/{lost['id']}/close") == []
    await tell(api, *[stripe.event("charge.dispute.funds_reinstated", lost)] * 2)
    assert await reversals(db) == {lost["id"]: -700, f"{lost['id']}-returned": 700}
    await accounts.ensure_user(ANN)
    assert await ok(ann.get(CREDITS)) == {"credits": 1500}
