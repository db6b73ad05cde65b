"""Stripe, through its SDK. Nothing else here knows it; what comes out are our own shapes and errors.

Each call that writes carries an idempotency key made of what it is for, so repeating it, by the SDK or by whoever
finds a payment unfinished, has no further effect. Texts of Stripe's errors go to the log and not to clients, except
that no text of a refused key is kept anywhere.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from functools import cache
from typing import Annotated, Any, TypeVar

import httpx2
import msgspec
import stripe
from msgspec import Meta, Struct, field
from stripe import StripeClient

from agentplat.credits.errors import (
    CardDeclined,
    EventInvalid,
    PaymentsNotConfigured,
    PaymentsRefused,
    PaymentsUnavailable,
)
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

T = TypeVar("T")

CURRENCY = "usd"
PRODUCT = "Platform credits"
TIMEOUT_SECONDS = 20.0
RETRIES = 2
# Events that were signed longer ago are somebody's recordings.
SIGNATURE_SECONDS = 300
MOST_CARDS = 10
# The status for a key whose first request is still under way.
CONFLICT = 409

_log = get_logger(__name__)

# Otherwise each request would report how long the one before it took.
stripe.enable_telemetry = False


# What the database can keep.
Cents = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class AskedBefore(PaymentsUnavailable):
    """An idempotency key was used before, for another request."""


class Session(Struct, frozen=True, kw_only=True):
    """A checkout at Stripe. `amount_total` is what was asked for after discounts, in cents."""

    id: str
    status: str | None = None
    payment_status: str | None = None
    payment_intent: str | None = None
    amount_total: Cents | None = None
    client_reference_id: str | None = None
    url: str | None = None

    @property
    def is_paid(self) -> bool:
        return self.payment_status in ("paid", "no_payment_required") and self.status in (None, "complete")


class Intent(Struct, frozen=True, kw_only=True):
    """A charge at Stripe, in cents."""

    id: str
    status: str
    amount_received: Cents | None = None
    metadata: dict[str, str] = {}


class Refund(Struct, frozen=True, kw_only=True):
    id: str
    amount: Cents
    status: str | None = None
    payment_intent: str | None = None


class Dispute(Struct, frozen=True, kw_only=True):
    id: str
    amount: Cents
    status: str
    payment_intent: str | None = None


class _Data(Struct, frozen=True, kw_only=True):
    object: msgspec.Raw


class Event(Struct, frozen=True, kw_only=True):
    """Something that has happened at Stripe. What it is about is read by `about`."""

    id: str
    kind: str = field(name="type")
    data: _Data

    def about(self, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(self.data.object, type=shape)
        except (msgspec.ValidationError, RecursionError) as error:
            raise EventInvalid from error


def configured() -> bool:
    return get_settings().stripe_api_key is not None


def require() -> None:
    """Raise unless payments are set up: before anything is written down that would wait for them."""
    if not configured():
        raise PaymentsNotConfigured("STRIPE_API_KEY")


class _Transport(stripe.HTTPClient):
    """How the SDK sends requests: by the client that the rest of the platform uses. The SDK's own asynchronous ones
    need packages that nothing else here does, or are out of date with them."""

    name = "httpx2"

    def __init__(self) -> None:
        super().__init__()
        self._http = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            response = await self._http.request(method, url, headers=dict(headers), content=post_data)
        except httpx2.HTTPError as error:
            lost = stripe.APIConnectionError(type(error).__name__, should_retry=True)  # type: ignore[no-untyped-call]
            raise lost from error
        return response.content, response.status_code, response.headers

    async def sleep_async(self, secs: float) -> None:
        await asyncio.sleep(secs)

    async def close_async(self) -> None:
        await self._http.aclose()


@cache
def _transport() -> _Transport:
    return _Transport()


@cache
def _client() -> StripeClient:
    settings = get_settings()
    if settings.stripe_api_key is None:
        raise PaymentsNotConfigured("STRIPE_API_KEY")
    return StripeClient(
        settings.stripe_api_key,
        base_addresses={"api": settings.stripe_base_url.rstrip("/")} if settings.stripe_base_url else None,
        http_client=_transport(),
        max_network_retries=RETRIES,
    )


async def close() -> None:
    """Close the connections to Stripe, if there are any. Call it once, when the process ends."""
    if _transport.cache_info().currsize:
        await _transport().close_async()
        _transport.cache_clear()
        _client.cache_clear()


async def _asked(call: Awaitable[Any], shape: type[T]) -> T:
    try:
        answer = await call
    except stripe.CardError as error:
        _log.info("card_declined", code=error.code, request=error.request_id)
        raise CardDeclined from None
    except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError) as error:
        _log.warning("stripe_unavailable", kind=type(error).__name__, request=error.request_id)
        raise PaymentsUnavailable from None
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        # Its text may repeat the key.
        _log.error("stripe_refuses_the_key", kind=type(error).__name__, request=error.request_id)
        raise PaymentsNotConfigured("STRIPE_API_KEY to a key that works") from None
    except stripe.IdempotencyError as error:
        _log.info("stripe_was_asked_before", status=error.http_status, request=error.request_id)
        raise (PaymentsUnavailable if error.http_status == CONFLICT else AskedBefore) from None
    except stripe.StripeError as error:
        _log.error("stripe_refused", code=error.code, request=error.request_id, reason=error.user_message)
        raise PaymentsRefused from None
    try:
        return msgspec.convert(answer.to_dict(), shape)
    except msgspec.ValidationError as error:
        _log.error("stripe_answer_not_understood", reason=str(error))
        raise PaymentsUnavailable from None


class _Named(Struct, frozen=True):
    id: str


class _Link(Struct, frozen=True):
    url: str


class _Intents(Struct, frozen=True):
    data: list[Intent]


class _Cards(Struct, frozen=True):
    data: list[_Named]


async def create_customer(user_id: str, email: str | None, key: str) -> str:
    params: Any = {"metadata": {"user_id": user_id}} | ({"email": email} if email else {})
    made = await _asked(_client().v1.customers.create_async(params, {"idempotency_key": key}), _Named)
    return made.id


async def open_checkout(customer: str, payment_id: str, amount: int) -> Session:
    """A page where the user pays, and has the card kept for later top-ups."""
    page = f"{get_settings().frontend_base_url.rstrip('/')}/profile/credits?topup="
    params: Any = {
        "mode": "payment",
        "customer": customer,
        "client_reference_id": payment_id,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {"currency": CURRENCY, "unit_amount": amount, "product_data": {"name": PRODUCT}},
            }
        ],
        "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"payment_id": payment_id}},
        "saved_payment_method_options": {"payment_method_save": "enabled"},
        "allow_promotion_codes": True,
        "success_url": f"{page}success",
        "cancel_url": f"{page}cancel",
    }
    call = _client().v1.checkout.sessions.create_async(params, {"idempotency_key": f"checkout-{payment_id}"})
    return await _asked(call, Session)


async def checkout(session_id: str) -> Session:
    return await _asked(_client().v1.checkout.sessions.retrieve_async(session_id), Session)


async def cards(customer: str) -> list[str]:
    found = await _asked(
        _client().v1.customers.payment_methods.list_async(customer, {"type": "card", "limit": MOST_CARDS}), _Cards
    )
    return [card.id for card in found.data]


async def charge(customer: str, card: str, payment_id: str, amount: int) -> Intent:
    """Charge a card without its owner being there. Raises CardDeclined, also where they would have to be asked."""
    params: Any = {
        "amount": amount,
        "currency": CURRENCY,
        "customer": customer,
        "payment_method": card,
        "payment_method_types": ["card"],
        "off_session": True,
        "confirm": True,
        "description": PRODUCT,
        "metadata": {"payment_id": payment_id},
    }
    call = _client().v1.payment_intents.create_async(params, {"idempotency_key": f"charge-{payment_id}-{card}"})
    return await _asked(call, Intent)


async def charges_of(customer: str, payment_id: str, since: int) -> list[Intent]:
    """The attempts at a payment that were made `since` (Unix seconds)."""
    call = _client().v1.payment_intents.list_async({"customer": customer, "created": {"gte": since}, "limit": 100})
    found = await _asked(call, _Intents)
    return [intent for intent in found.data if intent.metadata.get("payment_id") == payment_id]


async def check_card(customer: str, card: str, key: str) -> Intent:
    """Have the card's bank agree to later charges, without charging anything."""
    params: Any = {
        "customer": customer,
        "payment_method": card,
        "payment_method_types": ["card"],
        "usage": "off_session",
        "confirm": True,
    }
    return await _asked(_client().v1.setup_intents.create_async(params, {"idempotency_key": f"{key}-{card}"}), Intent)


async def refund(intent_id: str, request_id: str, details: Mapping[str, str]) -> Refund:
    """Give back what is left of a payment."""
    params: Any = {"payment_intent": intent_id, "metadata": {**details, "refund_request_id": request_id}}
    call = _client().v1.refunds.create_async(params, {"idempotency_key": f"refund-{request_id}"})
    return await _asked(call, Refund)


async def portal(customer: str) -> str:
    """Where the user sees invoices and changes cards."""
    params: Any = {
        "customer": customer,
        "return_url": f"{get_settings().frontend_base_url.rstrip('/')}/profile/credits",
    }
    return (await _asked(_client().v1.billing_portal.sessions.create_async(params), _Link)).url


async def concede(dispute_id: str) -> None:
    call = _client().v1.disputes.close_async(dispute_id, None, {"idempotency_key": f"concede-{dispute_id}"})
    await _asked(call, Dispute)


async def contest(dispute_id: str, email: str | None, text: str) -> None:
    """Send what speaks for the payment, for good: what was sent first stays, whatever there is to say by now."""
    evidence: Any = {"product_description": PRODUCT, "uncategorized_text": text}
    params: Any = {"evidence": evidence | ({"customer_email_address": email} if email else {}), "submit": True}
    call = _client().v1.disputes.update_async(dispute_id, params, {"idempotency_key": f"contest-{dispute_id}"})
    with suppress(AskedBefore):
        await _asked(call, Dispute)


def verified(payload: bytes, signature: str) -> Event:
    """The event, if Stripe has signed it lately. Raises EventInvalid."""
    secret = get_settings().stripe_webhook_secret
    if secret is None:
        _log.warning("stripe_event_refused", reason="STRIPE_WEBHOOK_SECRET is not set")
    if secret is None or not signature.isascii():
        raise EventInvalid
    try:
        stripe.WebhookSignature.verify_header(payload, signature, secret, SIGNATURE_SECONDS)
        return msgspec.json.decode(payload, type=Event)
    except (stripe.SignatureVerificationError, UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise EventInvalid from None
