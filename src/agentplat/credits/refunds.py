"""Giving money back: what users ask for, what Stripe says came of it, and payments that are disputed.

Credits go when the refund is on its way, and come back if it fails. Stripe tells of a refund several times and in any
order, so each has a state that only moves forward (`ReversalState`), under the lock of its charge.
"""

from collections.abc import Mapping

import msgspec

from agentplat.credits import gateway, rules, service
from agentplat.credits.errors import NothingToRefund, PaymentsRefused, RefundRefused, TopUpNotFound, ValueInvalid
from agentplat.credits.gateway import Dispute, Refund
from agentplat.credits.models import (
    Payment,
    RefundRequest,
    Reversal,
    ReversalState,
    TransactionType,
)
from agentplat.credits.queries import history, ledger
from agentplat.credits.queries import payments as payment_queries
from agentplat.credits.queries import reversals as queries
from agentplat.infra.ids import new_id
from agentplat.infra.telemetry import get_logger
from agentplat.infra.uow import unit_of_work

# So many credits may be spent already, and the money is given back all the same.
TOLERANCE = 500
# What Stripe keeps beside a refund.
MOST_DETAILS, LONGEST_NAME, LONGEST_TEXT = 20, 40, 500
# A dispute's evidence.
MOST_TRANSACTIONS, LONGEST_EVIDENCE = 500, 20_000

_STATES = {
    **dict.fromkeys(("pending", "requires_action", "succeeded"), ReversalState.TAKEN),
    **dict.fromkeys(("failed", "canceled"), ReversalState.RETURNED),
}
_ORDER = list(ReversalState)
_log = get_logger(__name__)


async def list_(user_id: str) -> list[RefundRequest]:
    return await queries.list_requests(user_id) if service.enabled() else []


async def request(user_id: str, key: str, details: Mapping[str, str]) -> int:
    """Have a top-up refunded. The cents that go back; 0 where too much was spent since, so that a person has to decide.

    Asking again goes on with the same request while it is open.
    """
    _check(details)
    if not service.enabled():
        return 0
    payment = await payment_queries.paid_by_key(user_id, key) if key.isprintable() else None
    if payment is None:
        raise TopUpNotFound
    if payment.intent_id is None or payment.paid == 0:
        raise NothingToRefund
    gateway.require()
    asked = await _decided(payment, details)
    if asked is None:
        return 0
    try:
        refund = await gateway.refund(payment.intent_id, asked.id, await queries.details_of(asked.id))
    except PaymentsRefused as error:
        await queries.decide_requests(payment, "REJECTED", "The payment service refuses this refund.", "PENDING")
        raise RefundRefused from error
    await follow(refund)
    return refund.amount


async def _decided(payment: Payment, details: Mapping[str, str]) -> RefundRequest | None:
    """The request to go to Stripe with, or None where a person has to decide.

    Its credits are there until Stripe has answered, and those of the user's other requests may be under way at the same
    moment. So each freezes what it counts on, under the lock of the balance.
    """
    async with unit_of_work():
        await ledger.lock(payment.user_id)
        left = payment.amount - _taken(await queries.of_intent(payment.key))
        if left <= 0:
            raise NothingToRefund
        unfrozen = await service.balance(payment.user_id) - await queries.frozen_by_others(payment)
        covered = left - unfrozen <= TOLERANCE
        reason, frozen = details.get("reason", ""), left if covered else 0
        asked = await queries.open_request(new_id(), payment, reason, details, frozen)
    if not covered:
        _log.warning("refund_to_be_decided", user_id=payment.user_id, request_id=asked.id, amount=left)
    return asked if covered else None


def _check(details: Mapping[str, str]) -> None:
    if len(details) > MOST_DETAILS:
        raise ValueInvalid(f"expected at most {MOST_DETAILS} members", "body")
    for name, text in details.items():
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or set("[]") & set(name):
            raise ValueInvalid(f"expected names of 1 to {LONGEST_NAME} characters without brackets", "body")
        if len(text) > LONGEST_TEXT or "\0" in text:
            raise ValueInvalid(f"expected a text of at most {LONGEST_TEXT} characters", "body", name)


async def follow(refund: Refund) -> None:
    """Take what Stripe says of a refund. Refunds of charges that aren't ours change nothing."""
    state = _STATES.get(refund.status or "")
    if state is not None and refund.payment_intent is not None and refund.amount > 0:
        await _move(refund.id, refund.payment_intent, refund.amount, state)


async def _move(reversal_id: str, intent_id: str, amount: int, state: ReversalState) -> None:
    """Take a refund or dispute to a state, unless it is there or further."""
    async with unit_of_work():
        await payment_queries.lock_intent(intent_id)
        known = await queries.get(reversal_id)
        if known is not None and _ORDER.index(known.state) >= _ORDER.index(state):
            return
        now = known or Reversal(id=reversal_id, intent_id=intent_id, amount=amount, state=state)
        now = msgspec.structs.replace(now, state=state, amount=amount)
        payment = await payment_queries.paid_by_intent(intent_id)
        if payment is None:
            # It may be paid and not known yet: `make_up_for` finds this then.
            await queries.put(now)
        elif state is ReversalState.TAKEN:
            await _take(payment, now)
        else:
            await _give_back(payment, now)


async def make_up_for(payment: Payment, intent_id: str) -> None:
    """Apply what took a payment back before it was known. Within the transaction that settles it, under its lock."""
    for reversal in await queries.of_intent(intent_id):
        if reversal.state is ReversalState.TAKEN:
            await _take(payment, reversal)


async def _take(payment: Payment, reversal: Reversal) -> None:
    others = [other for other in await queries.of_intent(reversal.intent_id) if other.id != reversal.id]
    due = rules.credits_of(reversal.amount, payment.amount, payment.paid, _taken(others))
    await queries.put(msgspec.structs.replace(reversal, credits=due))
    if due:
        await _book(payment, reversal.id, -due, "Refunded")
    await queries.decide_requests(payment, "APPROVED", f"Refunded: {reversal.amount} cents", "PENDING", "REJECTED")


async def _give_back(payment: Payment, reversal: Reversal) -> None:
    await queries.put(msgspec.structs.replace(reversal, credits=0))
    if not reversal.credits:
        return
    await _book(payment, f"{reversal.id}-returned", reversal.credits, "The refund failed")
    left = [other for other in await queries.of_intent(reversal.intent_id) if other.state is ReversalState.TAKEN]
    for number, other in enumerate(left):
        left[number] = await _take_rest(payment, other, _taken(left) - other.credits, f"{other.id}-after-{reversal.id}")
    if not left:
        await queries.decide_requests(payment, "REJECTED", "The refund failed.", "APPROVED")


async def _take_rest(payment: Payment, reversal: Reversal, taken: int, key: str) -> Reversal:
    """Stripe gives back again what failed the first time, and may tell of that first. Then there was less to be taken,
    or nothing."""
    due = rules.credits_of(reversal.amount, payment.amount, payment.paid, taken)
    if due <= reversal.credits:
        return reversal
    whole = msgspec.structs.replace(reversal, credits=due)
    await queries.put(whole)
    await _book(payment, key, reversal.credits - due, "Refunded")
    return whole


async def _book(payment: Payment, key: str, amount: int, reason: str) -> None:
    metadata = msgspec.json.encode({"reason": reason, "payment_id": payment.id, "intent_id": payment.intent_id})
    await ledger.add(payment.user_id, amount, key, TransactionType.REFUND, metadata)
    _log.info("payment_reversed", payment_id=payment.id, user_id=payment.user_id, key=key, amount=amount)


def _taken(reversals: list[Reversal]) -> int:
    return sum(reversal.credits for reversal in reversals)


# --- disputes


async def dispute_opened(dispute: Dispute) -> None:
    """Answer a dispute: give in where the credits are still there, else send what speaks for the payment. Once."""
    intent_id = dispute.payment_intent
    payment = await payment_queries.paid_by_intent(intent_id) if intent_id else None
    if intent_id is None or payment is None:
        return
    balance = await ledger.balance(payment.user_id)
    async with unit_of_work():
        await payment_queries.lock_intent(intent_id)
        known = await queries.get(dispute.id)
        if known is None:
            conceded = balance - dispute.amount >= TOLERANCE
            known = Reversal(
                id=dispute.id, intent_id=intent_id, amount=dispute.amount, state=ReversalState.OPEN, conceded=conceded
            )
            await queries.put(known)
    if known.answered or known.state is not ReversalState.OPEN:
        return
    if known.conceded:
        await gateway.concede(dispute.id)
    else:
        await gateway.contest(dispute.id, await history.email_of(payment.user_id), await _evidence(payment))
    await queries.mark_answered(dispute.id)
    _log.warning("payment_disputed", payment_id=payment.id, user_id=payment.user_id, conceded=known.conceded)


async def dispute_closed(dispute: Dispute) -> None:
    if dispute.status == "lost" and dispute.payment_intent is not None and dispute.amount > 0:
        await _move(dispute.id, dispute.payment_intent, dispute.amount, ReversalState.TAKEN)


async def dispute_reinstated(dispute: Dispute) -> None:
    """The money of a dispute came back."""
    if dispute.payment_intent is not None and dispute.amount > 0:
        await _move(dispute.id, dispute.payment_intent, dispute.amount, ReversalState.RETURNED)


async def _evidence(payment: Payment) -> str:
    lines = [f"Payment {payment.intent_id} for {payment.amount} credits. Uses of credits and payments, newest first:"]
    for row in await ledger.list_of_user(payment.user_id, MOST_TRANSACTIONS):
        what = row.metadata.get("block") or row.metadata.get("reason") or ""
        lines.append(
            f"{row.created_at:%Y-%m-%d %H:%M:%S} {row.type} {row.amount} (balance {row.running_balance}) {what}"
        )
    return "\n".join(lines)[:LONGEST_EVIDENCE]
