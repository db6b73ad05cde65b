"""Refunds and disputes, and requests for refunds. What reverses a payment is written under its lock (`payments`)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from agentplat.credits.models import Payment, RefundRequest, Reversal, ReversalState
from agentplat.infra.db import db

# For how long an event that was dealt with is known. Stripe repeats them for three days.
_EVENT_DAYS = 30
_MOST_LISTED = 100

_COLUMNS = "id, intent_id, amount, state, credits, conceded, answered"
_REQUEST = "id, user_id, transaction_key, amount, reason, result, status, created_at, updated_at"


def _reversal(row: Any) -> Reversal:
    return Reversal(**{**row, "state": ReversalState(row["state"])})


async def get(reversal_id: str) -> Reversal | None:
    row = await db().fetchrow(f"SELECT {_COLUMNS} FROM payment_reversals WHERE id = $1", reversal_id)
    return None if row is None else _reversal(row)


async def of_intent(intent_id: str) -> list[Reversal]:
    rows = await db().fetch(
        f"SELECT {_COLUMNS} FROM payment_reversals WHERE intent_id = $1 ORDER BY created_at, id", intent_id
    )
    return [_reversal(row) for row in rows]


async def put(reversal: Reversal) -> None:
    """Store what is known of a refund or dispute now."""
    await db().execute(
        """
        INSERT INTO payment_reversals (id, intent_id, amount, state, credits, conceded, answered)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (id) DO UPDATE SET amount = EXCLUDED.amount, state = EXCLUDED.state, credits = EXCLUDED.credits,
            conceded = EXCLUDED.conceded, answered = EXCLUDED.answered, updated_at = clock_timestamp()
        """,
        reversal.id,
        reversal.intent_id,
        reversal.amount,
        reversal.state,
        reversal.credits,
        reversal.conceded,
        reversal.answered,
    )


async def mark_answered(dispute_id: str) -> None:
    await db().execute(
        "UPDATE payment_reversals SET answered = true, updated_at = clock_timestamp() WHERE id = $1", dispute_id
    )


# --- requests for refunds


async def open_request(
    request_id: str, payment: Payment, reason: str, details: Mapping[str, str], frozen: int
) -> RefundRequest:
    """The user's open request for this top-up: an earlier one if there is one, else this. It counts on the credits that
    are to be `frozen`."""
    row = await db().fetchrow(
        f"""
        INSERT INTO refund_requests AS r (id, user_id, transaction_key, amount, reason, details, frozen)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (user_id, transaction_key) WHERE status = 'PENDING' DO UPDATE SET frozen = EXCLUDED.frozen
        RETURNING {_REQUEST}
        """,
        request_id,
        payment.user_id,
        payment.key,
        payment.amount,
        reason,
        msgspec.json.encode(details),
        frozen,
    )
    return RefundRequest(**row)


async def frozen_by_others(payment: Payment) -> int:
    """How many of the user's credits refunds of other top-ups count on that are under way."""
    return int(
        await db().fetchval(
            """
            SELECT COALESCE(sum(frozen), 0)::bigint FROM refund_requests
            WHERE user_id = $1 AND transaction_key <> $2 AND status = 'PENDING'
            """,
            payment.user_id,
            payment.key,
        )
    )


async def details_of(request_id: str) -> dict[str, str]:
    document = await db().fetchval("SELECT details FROM refund_requests WHERE id = $1", request_id)
    return msgspec.json.decode(document, type=dict[str, str])


async def decide_requests(payment: Payment, status: str, result: str, *of: str) -> None:
    """Decide the requests for this top-up that have one of these statuses."""
    await db().execute(
        """
        UPDATE refund_requests SET status = $3, result = $4, updated_at = clock_timestamp()
        WHERE user_id = $1 AND transaction_key = $2 AND status = ANY ($5)
        """,
        payment.user_id,
        payment.key,
        status,
        result,
        of,
    )


async def list_requests(user_id: str) -> list[RefundRequest]:
    rows = await db().fetch(
        f"""
        SELECT {_REQUEST} FROM refund_requests WHERE user_id = $1
        ORDER BY created_at DESC, id LIMIT {_MOST_LISTED}
        """,
        user_id,
    )
    return [RefundRequest(**row) for row in rows]


# --- events


async def is_event_done(event_id: str) -> bool:
    return bool(await db().fetchval("SELECT EXISTS (SELECT FROM stripe_events WHERE id = $1)", event_id))


async def mark_event_done(event_id: str, kind: str) -> None:
    await db().execute(
        f"""
        WITH forgotten AS (
            DELETE FROM stripe_events WHERE done_at < now() - interval '{_EVENT_DAYS} days'
        )
        INSERT INTO stripe_events (id, type) VALUES ($1, $2) ON CONFLICT DO NOTHING
        """,
        event_id,
        kind,
    )
