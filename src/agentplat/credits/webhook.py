"""What Stripe tells by itself. Each kind of event may come several times, late, and before what it follows from."""

from collections.abc import Awaitable, Callable
from typing import Any

from agentplat.credits import gateway, payments, refunds
from agentplat.credits.gateway import Dispute, Event, Intent, Refund, Session
from agentplat.credits.queries import reversals as queries

# Kind of event -> what it is about, and what is to be done. All of these may be repeated.
HANDLERS: dict[str, tuple[type[Any], Callable[[Any], Awaitable[object]]]] = {
    "checkout.session.completed": (Session, payments.settle_session),
    "checkout.session.async_payment_succeeded": (Session, payments.settle_session),
    "checkout.session.async_payment_failed": (Session, payments.give_up),
    "checkout.session.expired": (Session, payments.give_up),
    "payment_intent.succeeded": (Intent, payments.settle_intent),
    "refund.created": (Refund, refunds.follow),
    "refund.updated": (Refund, refunds.follow),
    "refund.failed": (Refund, refunds.follow),
    "charge.refund.updated": (Refund, refunds.follow),
    "charge.dispute.created": (Dispute, refunds.dispute_opened),
    "charge.dispute.closed": (Dispute, refunds.dispute_closed),
    "charge.dispute.funds_reinstated": (Dispute, refunds.dispute_reinstated),
}


async def receive(payload: bytes, signature: str) -> None:
    """Act on an event. Returns for those that were dealt with before, or are about nothing of ours: an error would only
    have Stripe send them again."""
    event: Event = gateway.verified(payload, signature)
    if event.kind not in HANDLERS or await queries.is_event_done(event.id):
        return
    shape, handle = HANDLERS[event.kind]
    await handle(event.about(shape))
    await queries.mark_event_done(event.id, event.kind)
