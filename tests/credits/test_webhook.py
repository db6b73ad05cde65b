"""Who may tell us what has happened at Stripe."""

import time
from typing import Any

from agentplat.credits import service
from agentplat.credits.models import Charge
from agentplat.infra.db import Database
from tests.credits.test_payments import CREDITS, WEBHOOK, begun, ok, top_ups
from tests.support.api import Api
from tests.support.stripe import FakeStripe, signed
from tests.support.switches import environment_of

DOCUMENT = b'{"id": "evt_1", "type": "customer.created", "data": {"object": {}}}'

REFUND = (
    b'{"id": "evt_1", "type": "refund.created",'
    b' "data": {"object": {"id": "re_1", "status": "succeeded", "payment_intent": "pi_1", "amount": %b}}}'
)


async def test_what_stripe_has_not_signed_lately_is_refused(stripe: FakeStripe, api: Api) -> None:
    requests: list[dict[str, Any]] = [
        {"content": DOCUMENT},
        *({"content": DOCUMENT, "headers": {"Stripe-Signature": odd}} for odd in ("", "t=,v1=", b"t=1=2,v1=\xe9")),
        {"content": b"\xff\xfe", "headers": {"Stripe-Signature": "t=1,v1=0"}},
        signed(DOCUMENT, "whsec_other"),
        signed(DOCUMENT, at=time.time() - 301),
        signed(DOCUMENT) | {"content": DOCUMENT.replace(b"evt_1", b"evt_2")},
        signed(b""),
        signed(b"[]"),
        signed(b'{"id": "evt_1", "type": "refund.created", "data": {"object": {"id": 7}}}'),
        *(signed(REFUND % amount) for amount in (b"9223372036854775808", b"1e400", b"-" + b"9" * 50)),
        signed(REFUND % (b'1, "x": ' + b"[" * 100_000 + b"]" * 100_000)),
        signed(DOCUMENT.replace(b"{}", b"[" * 100_000 + b"]" * 100_000)),
    ]
    for request in requests:
        refused = await api().post(WEBHOOK, **request)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_event"), request
    await ok(api().post(WEBHOOK, **signed(DOCUMENT)))


async def test_without_the_secret_no_event_is_believed(stripe: FakeStripe, api: Api) -> None:
    with environment_of(STRIPE_WEBHOOK_SECRET=""):
        for request in (signed(DOCUMENT), signed(DOCUMENT, ""), {"content": b"{}"}):
            refused = await api().post(WEBHOOK, **request)
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_event"), request


async def test_an_event_is_dealt_with_until_it_succeeds_and_then_no_more(
    stripe: FakeStripe, api: Api, db: Database
) -> None:
    ann = api("ann")
    session = stripe.pay(await begun(ann, 1500))
    await ok(ann.patch(CREDITS))
    dispute = stripe.dispute(session["payment_intent"], 500)
    event = stripe.event("charge.dispute.created", dispute)
    path = f"/v1/disputes/{dispute['id']}/close"
    stripe.lost[path] = 3
    refused = await api().post(WEBHOOK, **event)
    assert refused.status_code == 503
    assert await db.fetchval("SELECT count(*) FROM stripe_events") == 0
    for _ in range(2):
        await ok(api().post(WEBHOOK, **event))
    assert len(stripe.made(path)) == 1
    assert await db.fetchval("SELECT count(*) FROM stripe_events") == 1
    assert await top_ups(db) == [1500]


async def test_evidence_whose_answer_got_lost_counts_as_sent(stripe: FakeStripe, api: Api, db: Database) -> None:
    """There may be more to say by the next time; but it was said, and Stripe takes it once."""
    ann = api("ann")
    session = stripe.pay(await begun(ann, 500))
    await ok(ann.patch(CREDITS))
    dispute = stripe.dispute(session["payment_intent"], 500)
    event = stripe.event("charge.dispute.created", dispute)
    stripe.lost[f"/v1/disputes/{dispute['id']}"] = 3
    assert (await api().post(WEBHOOK, **event)).status_code == 503
    await service.spend("ann", Charge(key="c", amount=1))
    await ok(api().post(WEBHOOK, **event))
    assert len(stripe.made(f"/v1/disputes/{dispute['id']}")) == 1
    assert await db.fetchval("SELECT answered FROM payment_reversals")
