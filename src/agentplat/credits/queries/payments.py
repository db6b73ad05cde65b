"""Payments. One becomes paid by an UPDATE that finds it unpaid, in the transaction that adds to the balance: of
webhook, browser and reconciliation at once, one finds it so, and the others wait for it and find nothing.

Everything about one charge at Stripe, its payment and what reverses it, is done under one lock (`lock_intent`), because
either may become known first.
"""

from typing import Any

from agentplat.credits.models import AutoTopUpConfig, Payment, PaymentKind
from agentplat.infra.db import db

# After a failure the card is left alone for so long, unless its owner asks.
_PAUSE = "interval '1 hour'"
# While somebody is at it. Longer than Stripe may take to answer for one card, several times over.
_LEASE = "interval '5 minutes'"
# A page for paying is looked at for a day, which is how long it is good; Stripe usually tells first.
_FIRST_LOOK = "interval '10 minutes'"
_LOOK_AGAIN = "interval '1 hour'"
_MOST_AT_ONCE = 10

_COLUMNS = "id, user_id, kind, amount, paid, session_id, intent_id, attempts, created_at"


def _known(row: Any) -> Payment:
    return Payment(**{**row, "kind": PaymentKind(row["kind"])})


def _payment(row: Any) -> Payment | None:
    return None if row is None else _known(row)


async def customer_of(user_id: str) -> str | None:
    found: str | None = await db().fetchval("SELECT customer_id FROM stripe_customers WHERE user_id = $1", user_id)
    return found


async def keep_customer(user_id: str, customer_id: str) -> str:
    """The customer that counts: of two made at once, the first one."""
    kept: str = await db().fetchval(
        """
        INSERT INTO stripe_customers AS c (user_id, customer_id) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET customer_id = c.customer_id RETURNING customer_id
        """,
        user_id,
        customer_id,
    )
    return kept


async def open_checkout(payment_id: str, user_id: str, amount: int) -> None:
    await db().execute(
        f"""
        INSERT INTO payments (id, user_id, kind, amount, attempt_at)
        VALUES ($1, $2, 'CHECKOUT', $3, now() + {_FIRST_LOOK})
        """,
        payment_id,
        user_id,
        amount,
    )


async def keep_session(payment_id: str, session_id: str) -> None:
    await db().execute("UPDATE payments SET session_id = $2 WHERE id = $1", payment_id, session_id)


async def payment_of_session(session_id: str) -> str | None:
    found: str | None = await db().fetchval("SELECT id FROM payments WHERE session_id = $1", session_id)
    return found


async def open_charge(payment_id: str, user_id: str, amount: int, threshold: int) -> Payment | None:
    """A charge at the user's wish, in the hands of the caller. None while another one of the user's is under way, or
    where one that has just ended has brought the balance to the threshold: its commit is waited for."""
    row = await db().fetchrow(
        f"""
        WITH account AS MATERIALIZED (
            SELECT balance FROM balances WHERE user_id = $2 FOR NO KEY UPDATE
        )
        INSERT INTO payments (id, user_id, kind, amount, attempts, attempt_at)
        SELECT $1, $2, 'TOP_UP', $3, 1, now() + {_LEASE}
        WHERE COALESCE((SELECT balance FROM account), 0) < $4
        ON CONFLICT (user_id) WHERE status = 'PENDING' AND kind <> 'CHECKOUT' DO NOTHING
        RETURNING {_COLUMNS}
        """,
        payment_id,
        user_id,
        amount,
        threshold,
    )
    return _payment(row)


async def open_due_charges() -> None:
    """Charges for the balances that came below their threshold and still are. Those that somebody is just writing to
    are left for the next time."""
    await db().execute(
        f"""
        WITH due AS (
            SELECT user_id FROM balances WHERE top_up_due ORDER BY user_id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
        ), seen AS (
            UPDATE balances b SET top_up_due = false FROM due WHERE b.user_id = due.user_id
            RETURNING b.user_id, b.balance, b.top_up_amount, b.top_up_threshold
        )
        INSERT INTO payments (id, user_id, kind, amount, attempt_at)
        SELECT gen_random_uuid()::text, s.user_id, 'AUTO_TOP_UP', s.top_up_amount, now()
        FROM seen s
        WHERE s.top_up_amount > 0 AND s.balance < s.top_up_threshold AND NOT EXISTS (
            SELECT FROM payments p WHERE p.user_id = s.user_id AND p.kind = 'AUTO_TOP_UP' AND p.status = 'FAILED'
                AND p.created_at > now() - {_PAUSE})
        ON CONFLICT (user_id) WHERE status = 'PENDING' AND kind <> 'CHECKOUT' DO NOTHING
        """
    )


async def claim_waiting() -> list[Payment]:
    """Payments that somebody has to look after now, which is the caller. Two callers get different ones."""
    rows = await db().fetch(
        f"""
        UPDATE payments SET attempts = attempts + 1, updated_at = clock_timestamp(),
            attempt_at = now() + CASE kind WHEN 'CHECKOUT' THEN {_LOOK_AGAIN} ELSE {_LEASE} END
        WHERE id IN (
            SELECT id FROM payments WHERE status = 'PENDING' AND attempt_at <= now()
            ORDER BY attempt_at LIMIT {_MOST_AT_ONCE} FOR UPDATE SKIP LOCKED
        )
        RETURNING {_COLUMNS}
        """
    )
    return [_known(row) for row in rows]


async def open_checkouts(user_id: str) -> list[Payment]:
    """The user's payments by page that may have been made meanwhile, newest first."""
    rows = await db().fetch(
        f"""
        SELECT {_COLUMNS} FROM payments
        WHERE user_id = $1 AND kind = 'CHECKOUT' AND status = 'PENDING' AND session_id IS NOT NULL
        ORDER BY created_at DESC LIMIT {_MOST_AT_ONCE}
        """,
        user_id,
    )
    return [_known(row) for row in rows]


async def lock_intent(intent_id: str) -> None:
    """Until the end of the transaction, be the only one who does anything about this charge."""
    await db().execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", intent_id)


async def lock_account(payment_id: str) -> None:
    """Until the end of the transaction, be the only one who changes the balance that the payment is for. Before the
    payment is touched: who opens a charge comes in this order as well."""
    await db().execute(
        """
        SELECT FROM balances WHERE user_id = (SELECT user_id FROM payments WHERE id = $1) FOR NO KEY UPDATE
        """,
        payment_id,
    )


async def mark_paid(payment_id: str, intent_id: str | None, session_id: str | None, paid: int | None) -> Payment | None:
    """The payment, if it was not paid before. One that had been given up counts as well: the money is there. Not so the
    money of another session than the one that was opened for it, whatever that says of itself."""
    row = await db().fetchrow(
        f"""
        UPDATE payments
        SET status = 'PAID', intent_id = $2, session_id = COALESCE(session_id, $3), paid = COALESCE($4, amount),
            failure = NULL, updated_at = clock_timestamp()
        WHERE id = $1 AND status <> 'PAID' AND (session_id = $3) IS NOT FALSE
        RETURNING {_COLUMNS}
        """,
        payment_id,
        intent_id,
        session_id,
        paid,
    )
    return _payment(row)


async def mark_failed(payment_id: str, failure: str) -> None:
    await db().execute(
        """
        UPDATE payments SET status = 'FAILED', failure = $2, updated_at = clock_timestamp()
        WHERE id = $1 AND status = 'PENDING'
        """,
        payment_id,
        failure,
    )


async def paid_by_key(user_id: str, key: str) -> Payment | None:
    """A top-up of the user's by its key in the ledger."""
    row = await db().fetchrow(
        f"""
        SELECT {_COLUMNS} FROM payments
        WHERE user_id = $1 AND status = 'PAID' AND (intent_id = $2 OR intent_id IS NULL AND session_id = $2)
        """,
        user_id,
        key,
    )
    return _payment(row)


async def paid_by_intent(intent_id: str) -> Payment | None:
    row = await db().fetchrow(f"SELECT {_COLUMNS} FROM payments WHERE intent_id = $1 AND status = 'PAID'", intent_id)
    return _payment(row)


# --- what the balance is topped up by itself with


async def auto_top_up(user_id: str) -> AutoTopUpConfig:
    row = await db().fetchrow(
        "SELECT top_up_amount AS amount, top_up_threshold AS threshold FROM balances WHERE user_id = $1", user_id
    )
    return AutoTopUpConfig(**row) if row else AutoTopUpConfig(amount=0, threshold=0)


async def set_auto_top_up(user_id: str, config: AutoTopUpConfig) -> None:
    await db().execute(
        """
        INSERT INTO balances (user_id, top_up_amount, top_up_threshold) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE
        SET top_up_amount = EXCLUDED.top_up_amount, top_up_threshold = EXCLUDED.top_up_threshold, top_up_due = false
        """,
        user_id,
        config.amount,
        config.threshold,
    )
