"""Buying credits: by a page of Stripe's, with a stored card, or by itself when the balance comes below a threshold.

A payment is on record before Stripe is asked for it, and its id is in everything that Stripe is asked for. So whoever
hears of the money first (the webhook, the user's browser, or the job that looks after unfinished payments) knows which
payment it is for, and whoever died in between is made up for.
"""

from hashlib import sha256

import msgspec

from agentplat.accounts.models import User
from agentplat.credits import gateway, service
from agentplat.credits.errors import (
    CardDeclined,
    CardMissing,
    PaymentsNotConfigured,
    PaymentsRefused,
    PaymentsUnavailable,
    TopUpInProgress,
    ValueInvalid,
)
from agentplat.credits.gateway import Intent, Session
from agentplat.credits.models import AutoTopUpConfig, Payment, PaymentKind, TransactionType
from agentplat.credits.queries import ledger
from agentplat.credits.queries import payments as queries
from agentplat.credits.refunds import make_up_for
from agentplat.infra.errors import BadValue
from agentplat.infra.ids import new_id
from agentplat.infra.telemetry import get_logger
from agentplat.infra.uow import unit_of_work

LEAST = 500
STEP = 100
# The most that Stripe takes in one payment, in cents.
MOST = 99_999_999

_REASONS = {
    PaymentKind.CHECKOUT: "Top-up by checkout",
    PaymentKind.TOP_UP: "Top-up with a stored card",
    PaymentKind.AUTO_TOP_UP: "Automatic top-up",
}
_log = get_logger(__name__)


async def top_up(user: User, amount: int) -> str:
    """The address of a page where the user can pay for so many credits."""
    if amount < LEAST or amount % STEP or amount > MOST:
        raise BadValue("credit_amount", f"expected at least {LEAST} credits, in steps of {STEP}, and at most {MOST}")
    if not service.enabled():
        return ""
    gateway.require()
    customer = await _customer(user)
    payment_id = new_id()
    await queries.open_checkout(payment_id, user.id, amount)
    session = await gateway.open_checkout(customer, payment_id, amount)
    await queries.keep_session(payment_id, session.id)
    return session.url or ""


async def portal(user: User) -> str:
    gateway.require()
    return await gateway.portal(await _customer(user))


async def fulfil(user_id: str) -> None:
    """Look whether the user has paid for what was begun."""
    if not service.enabled() or not gateway.configured():
        return
    for payment in await queries.open_checkouts(user_id):
        await _look_at(payment)


async def settle(payment_id: str, intent_id: str | None, session_id: str | None, paid: int | None) -> bool:
    """Credit a payment whose money has arrived, once, whoever says so and however often. True the first time. What was
    `paid` is the price where it isn't said."""
    async with unit_of_work():
        if intent_id is not None:
            await queries.lock_intent(intent_id)
        await queries.lock_account(payment_id)
        payment = await queries.mark_paid(payment_id, intent_id, session_id, paid)
        if payment is None:
            return False
        metadata = {
            "reason": _REASONS[payment.kind],
            "payment_id": payment.id,
            "session_id": payment.session_id,
            "intent_id": intent_id,
            "paid": payment.paid,
        }
        await service.refill(payment.user_id)
        await ledger.add(
            payment.user_id, payment.amount, payment.key, TransactionType.TOP_UP, msgspec.json.encode(metadata)
        )
        if intent_id is not None:
            await make_up_for(payment, intent_id)
    _log.info("payment_settled", payment_id=payment.id, user_id=payment.user_id, amount=payment.amount)
    return True


async def settle_session(session: Session) -> bool:
    """The same for a checkout as Stripe describes it. False where it isn't paid, or isn't ours."""
    payment_id = await _payment_of(session) if session.is_paid else None
    if payment_id is None:
        return False
    return await settle(payment_id, session.payment_intent, session.id, session.amount_total)


async def settle_intent(intent: Intent) -> bool:
    payment_id = intent.metadata.get("payment_id")
    if intent.status != "succeeded" or payment_id is None:
        return False
    return await settle(payment_id, intent.id, None, intent.amount_received)


async def give_up(session: Session) -> None:
    """Nobody will pay here any more."""
    if payment_id := await _payment_of(session):
        await queries.mark_failed(payment_id, "expired" if session.status == "expired" else "not paid")


async def _payment_of(session: Session) -> str | None:
    """The session says so itself, from its beginning on; its id we may not have written down yet."""
    return session.client_reference_id or await queries.payment_of_session(session.id)


async def _look_at(payment: Payment) -> None:
    if payment.session_id is None:
        if payment.attempts > 24:  # nobody ever saw that page
            await queries.mark_failed(payment.id, "never opened")
        return
    session = await gateway.checkout(payment.session_id)
    if session.is_paid:
        await settle(payment.id, session.payment_intent, session.id, session.amount_total)
    elif session.status == "expired":
        await queries.mark_failed(payment.id, "expired")


# --- with a stored card


async def auto_top_up(user_id: str) -> AutoTopUpConfig:
    return await queries.auto_top_up(user_id)


async def set_auto_top_up(user: User, config: AutoTopUpConfig) -> None:
    """Keep the settings. A card has to be good for it: it is charged at once where the balance is low, or else its bank
    is asked. Switching it off needs neither card nor Stripe."""
    _check(config)
    if config.amount and service.enabled():
        gateway.require()
        await _prove_card(user.id, config)
    await queries.set_auto_top_up(user.id, config)


async def _prove_card(user_id: str, config: AutoTopUpConfig) -> None:
    if await service.balance(user_id) < config.threshold:
        payment = await queries.open_charge(new_id(), user_id, config.amount, config.threshold)
        if payment is not None:
            try:
                return await _charge(payment)
            except PaymentsRefused as error:
                # Or else it would be tried again later, when nobody expects it any more.
                await queries.mark_failed(payment.id, error.code)
                raise
        if await service.balance(user_id) < config.threshold:
            raise TopUpInProgress
    await _check_card(user_id)


def _check(config: AutoTopUpConfig) -> None:
    if not 0 <= config.threshold <= MOST:
        raise ValueInvalid(f"expected 0 to {MOST}", "body", "threshold")
    if config.amount and not LEAST <= config.amount <= MOST:
        raise ValueInvalid(f"expected 0, or {LEAST} to {MOST}", "body", "amount")
    if config.amount and config.amount < config.threshold:
        raise ValueInvalid("expected at least the threshold", "body", "amount")


async def look_after_unfinished() -> None:
    """Charge for balances that are due, and see to the payments that nobody has finished."""
    await queries.open_due_charges()
    for payment in await queries.claim_waiting():
        try:
            await (_look_at(payment) if payment.kind is PaymentKind.CHECKOUT else _charge(payment))
        except (CardMissing, CardDeclined) as error:
            _log.info("automatic_top_up_failed", user_id=payment.user_id, payment_id=payment.id, code=error.code)
        except PaymentsRefused as error:
            await queries.mark_failed(payment.id, error.code)
        except (PaymentsUnavailable, PaymentsNotConfigured):
            # Whether it was charged isn't known. It is asked for again, under the same keys.
            _log.warning("payment_delayed", payment_id=payment.id)


async def _charge(payment: Payment) -> None:
    """Charge one of the user's cards. What becomes of a call without an answer is found out by the next attempt: the
    payment stays open until then."""
    customer = await queries.customer_of(payment.user_id)
    stored = await gateway.cards(customer) if customer else []
    if customer and payment.attempts > 1:
        # Idempotency keys are by card, and the cards may be others by now.
        for intent in await gateway.charges_of(customer, payment.id, int(payment.created_at.timestamp())):
            if await settle_intent(intent) or intent.status == "processing":
                return
    for card in stored:
        try:
            intent = await gateway.charge(customer or "", card, payment.id, payment.amount)
        except CardDeclined:
            continue
        if intent.status == "processing":
            return
        if intent.status == "succeeded":
            await settle_intent(intent)
            return
    refusal = CardDeclined() if stored else CardMissing()
    await queries.mark_failed(payment.id, refusal.code)
    raise refusal


async def _check_card(user_id: str) -> None:
    customer = await queries.customer_of(user_id)
    stored = await gateway.cards(customer) if customer else []
    key = f"check-{new_id()}"
    for card in stored:
        try:
            intent = await gateway.check_card(customer or "", card, key)
        except CardDeclined:
            continue
        if intent.status == "succeeded":
            metadata = msgspec.json.encode({"reason": "Card check"})
            await ledger.add(user_id, 0, intent.id, TransactionType.CARD_CHECK, metadata)
            return
    raise CardDeclined() if stored else CardMissing()


async def _customer(user: User) -> str:
    """The user's customer at Stripe, made on first use. Two who make it at once get the same one from Stripe."""
    if known := await queries.customer_of(user.id):
        return known
    key = sha256(msgspec.json.encode([user.id, user.email])).hexdigest()
    return await queries.keep_customer(user.id, await gateway.create_customer(user.id, user.email, f"customer-{key}"))
