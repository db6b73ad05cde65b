"""The ledger as people read it. What one run has cost is one entry, with the time and balance of its newest row."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from agentplat.infra.db import db

_HEADS = """
    FROM credit_transactions t
    WHERE user_id = $1 AND created_at < $2 AND ($3::text IS NULL OR type = $3)
        AND (run_id IS NULL OR NOT EXISTS (
            SELECT FROM credit_transactions n WHERE n.user_id = $1 AND n.run_id = t.run_id
                AND (n.created_at, -n.running_balance) > (t.created_at, -t.running_balance)))
"""
# A user's pages go on behind a time, and clients written in JavaScript cut it to milliseconds. So entries of one
# millisecond must not be torn apart, and a page may hold a few more than asked for.
_PAGE = f"""
    WITH edge AS MATERIALIZED (
        SELECT date_trunc('milliseconds', created_at) AS at {_HEADS} ORDER BY created_at DESC OFFSET $4 - 1 LIMIT 1
    ), heads AS MATERIALIZED (
        SELECT * {_HEADS} AND created_at >= COALESCE((SELECT at FROM edge), '-infinity')
    )
    SELECT h.*, g.amount AS run_amount, g.rows, g.since
    FROM heads h LEFT JOIN LATERAL (
        SELECT sum(amount)::bigint AS amount, count(*) AS rows, min(created_at) AS since
        FROM credit_transactions n WHERE n.user_id = $1 AND n.run_id = h.run_id
    ) g ON h.run_id IS NOT NULL
    ORDER BY h.created_at DESC, h.running_balance
"""

_MATCHING = """
    FROM credit_transactions t JOIN users u ON u.id = t.user_id
    WHERE ($1::text IS NULL OR t.type = $1)
        AND ($2::text IS NULL OR strpos(lower(concat_ws(E'\\n', u.id, u.email, u.name)), lower($2)) > 0)
"""

# Rows of several users may be equal but for whose they are, and pages must not disagree which of them comes first.
_NEWEST = "{0}.created_at DESC, {0}.running_balance, {0}.user_id, {0}.transaction_key"


async def page(user_id: str, before: datetime, kind: str | None, limit: int) -> list[Any]:
    return await db().fetch(_PAGE, user_id, before, kind, limit)


async def page_of_all(kind: str | None, search: str | None, offset: int, limit: int) -> tuple[list[Any], int]:
    """Rows with whose they are, and how many there are in all. Two statements, whatever the page."""
    rows = await db().fetch(
        f"""
        WITH p AS MATERIALIZED (
            SELECT t.*, u.email {_MATCHING} ORDER BY {_NEWEST.format("t")} OFFSET $3 LIMIT $4
        )
        SELECT p.*, NULL::bigint AS run_amount, COALESCE(b.balance, 0) AS balance
        FROM p LEFT JOIN balances b ON b.user_id = p.user_id
        ORDER BY {_NEWEST.format("p")}
        """,
        kind,
        search,
        offset,
        limit,
    )
    total = await db().fetchval(f"SELECT count(*) {_MATCHING}", kind, search)
    return rows, int(total)


async def emails_of(user_ids: Collection[str]) -> dict[str, str | None]:
    rows = await db().fetch("SELECT id, email FROM users WHERE id = ANY ($1)", list(user_ids))
    return {row["id"]: row["email"] for row in rows}


async def email_of(user_id: str) -> str | None:
    email: str | None = await db().fetchval("SELECT email FROM users WHERE id = $1", user_id)
    return email
