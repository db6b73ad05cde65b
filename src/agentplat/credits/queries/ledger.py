"""The ledger and the balances. Both change in one statement or not at all, so their sums never come apart.

A user's balance row is the lock of their account: whoever changes it waits for whoever is changing it, and then sees
what became of it. Keys are what makes repeating safe. Two statements with the same key at the same time both find the
key unused, because who waits for a lock still sees the ledger as it was before. If the second one can pay as well, the
ledger's primary key undoes it, and `once` tries it again. If it can't, it was refused for its own payment: that is why
a refusal counts only if the key is still unused afterwards.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import msgspec

from agentplat.credits.errors import KeyReused, UnknownUser
from agentplat.credits.models import Booking, Charge, Shortage, Transaction, TransactionType, Usage
from agentplat.credits.rules import EXECUTIONS_PER_CREDIT
from agentplat.infra.db import db

T = TypeVar("T")

# Clients read a balance as an integer of 32 bits. What would leave these is booked as far as it goes.
LOWEST, HIGHEST = -(2**31), 2**31 - 1
# More rivals for one key than this are not rivals but a defect.
MAX_RIVALS = 5

_encoder = msgspec.json.Encoder()

# Paying as part of a statement that does something else, so that both happen or neither.
#
# The statement provides `charges (user_id, transaction_key, amount, executions, metadata, fee_metadata, run_id)`,
# restricted to what may be charged at all, and finds in `short (user_id, balance, cost)` the users who can't pay. Of a
# user's charges in one statement all are paid or none; those whose key is in the ledger already are paid, and cost
# nothing again. What must not happen unpaid is made conditional on the user not being in `short`.
#
# A balance that comes below its threshold says so in its own row, which is being written anyway; whoever tops it up
# looks there (see `payments`).
#
# The fee for executions takes what is left after the charges, never more: the rest stays counted, and is taken when
# there is something to take. So charges that cost nothing are never refused. They leave no row either: repeating them
# counts their executions again, unless the statement rules that out by other means.
#
# Locks: the rows that the statement locks to make `charges` come first, then the balances in the order of their users.
SPEND_CTES = f"""
    due AS MATERIALIZED (
        SELECT c.* FROM charges c
        WHERE NOT EXISTS (
            SELECT FROM credit_transactions t WHERE t.user_id = c.user_id AND t.transaction_key = c.transaction_key
        )
    ), funds AS MATERIALIZED (
        SELECT user_id, balance, executions FROM balances
        WHERE user_id = ANY (ARRAY(SELECT user_id FROM due))
        ORDER BY user_id
        FOR NO KEY UPDATE
    ), bills AS MATERIALIZED (
        SELECT d.*, f.balance, f.executions + d.added AS executions, d.cost <= GREATEST(f.balance, 0) AS paid,
            LEAST((f.executions + d.added) / {EXECUTIONS_PER_CREDIT}, GREATEST(f.balance - d.cost, 0)) AS fee,
            clock_timestamp() AS at  -- not now(): rows get the time when the balance was theirs, so times are in order
        FROM (
            SELECT user_id, sum(amount)::bigint AS cost, sum(executions)::bigint AS added,
                max(transaction_key) || '-fee' AS fee_key,
                (array_agg(fee_metadata ORDER BY transaction_key DESC))[1] AS fee_metadata,
                (array_agg(run_id ORDER BY transaction_key DESC))[1] AS fee_run_id
            FROM due GROUP BY user_id
        ) d LEFT JOIN funds f ON f.user_id = d.user_id
    ), settled AS (
        UPDATE balances b
        SET balance = x.balance - x.cost - x.fee, executions = x.executions - x.fee * {EXECUTIONS_PER_CREDIT},
            updated_at = x.at,
            top_up_due = b.top_up_due
                OR b.top_up_amount > 0 AND x.balance - x.cost - x.fee < b.top_up_threshold
        FROM bills x WHERE x.user_id = b.user_id AND x.paid
    ), booked AS (
        INSERT INTO credit_transactions
            (user_id, transaction_key, amount, type, running_balance, metadata, created_at, run_id)
        SELECT user_id, d.transaction_key, -d.amount, 'USAGE',
            x.balance - sum(d.amount) OVER (PARTITION BY user_id ORDER BY d.transaction_key), d.metadata, x.at, d.run_id
        FROM due d JOIN bills x USING (user_id) WHERE x.paid AND d.amount <> 0
        UNION ALL
        SELECT user_id, fee_key, -fee, 'USAGE', balance - cost - fee, fee_metadata, at, fee_run_id
        FROM bills WHERE paid AND fee > 0
    ), short AS (
        SELECT user_id, COALESCE(balance, 0) AS balance, cost FROM bills WHERE NOT paid
    )
"""


def charge_columns(charges: Sequence[Charge]) -> tuple[list[Any], ...]:
    """The arrays for `unnest($::text[], $::bigint[], $::bigint[], $::bytea[], $::bytea[])`.

    In the order of the columns: transaction_key, amount, executions, metadata, fee_metadata.
    """
    return (
        [charge.key for charge in charges],
        [charge.amount for charge in charges],
        [charge.executions for charge in charges],
        [_encoder.encode(charge.usage) for charge in charges],
        [_encoder.encode(_fee_usage(charge)) for charge in charges],
    )


def _fee_usage(charge: Charge) -> Any:
    return msgspec.structs.replace(
        charge.usage,
        input={"execution_count": EXECUTIONS_PER_CREDIT, "charge": "Execution Cost"},
        reason="Execution Cost",
    )


async def once(statement: Callable[[], Awaitable[T]]) -> T:
    """Run a statement that writes to the ledger, again if another one with the same key was faster.

    Within a unit of work there is no second time: the transaction fails, and whoever opened it tries again or doesn't.
    """
    for _ in range(MAX_RIVALS):
        try:
            return await statement()
        except asyncpg.UniqueViolationError:
            continue
    return await statement()


async def balance(user_id: str) -> int:
    found = await db().fetchval("SELECT balance FROM balances WHERE user_id = $1", user_id)
    return int(found or 0)


async def lock(user_id: str) -> None:
    """Until the end of the transaction, have whoever wants to change the balance wait."""
    await db().execute("SELECT FROM balances WHERE user_id = $1 FOR NO KEY UPDATE", user_id)


async def spend(user_id: str, charge: Charge) -> int | Shortage:
    """The balance afterwards, or why nothing was taken."""

    async def statement() -> Any:
        return await db().fetchrow(
            f"""
            WITH charges AS (
                SELECT $1::text COLLATE "C" AS user_id, c.*, $7::text AS run_id
                FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[])
                    AS c (transaction_key, amount, executions, metadata, fee_metadata)
            ), {SPEND_CTES}
            SELECT EXISTS (SELECT FROM short) AS short, COALESCE(x.balance, a.balance, 0) AS balance, x.cost, x.fee
            FROM (SELECT $1::text AS user_id) u
            LEFT JOIN bills x ON x.user_id = u.user_id LEFT JOIN balances a ON a.user_id = u.user_id
            """,
            user_id,
            *charge_columns([charge]),
            charge.usage.graph_exec_id,
        )

    row = await once(statement)
    if row["short"] and await _is_booked(user_id, charge.key):
        row = await once(statement)
    if row["short"]:
        return Shortage(balance=row["balance"], cost=row["cost"])
    return int(row["balance"] - (row["cost"] or 0) - (row["fee"] or 0))


async def _is_booked(user_id: str, key: str) -> bool:
    return bool(
        await db().fetchval(
            "SELECT EXISTS (SELECT FROM credit_transactions WHERE user_id = $1 AND transaction_key = $2)", user_id, key
        )
    )


async def add(
    user_id: str, amount: int, key: str, kind: TransactionType, metadata: bytes, least: int | None = None
) -> Booking:
    """Change the balance by a row of the ledger, unless that row is there already.

    With `least` the balance may not be lower afterwards: then nothing is done, and `balance` is what there is.
    """

    async def statement() -> Any:
        return await db().fetchrow(
            """
            WITH known AS (
                SELECT amount, running_balance FROM credit_transactions WHERE user_id = $1 AND transaction_key = $3
            ), funds AS MATERIALIZED (
                SELECT balance FROM balances WHERE user_id = $1 AND NOT EXISTS (SELECT FROM known)
                FOR NO KEY UPDATE
            ), wanted AS MATERIALIZED (
                SELECT b.before, LEAST(GREATEST(b.before + $2::bigint, $7), $8) AS after
                FROM (SELECT COALESCE((SELECT balance FROM funds), 0) AS before) b
                WHERE NOT EXISTS (SELECT FROM known) AND ($6::bigint IS NULL OR b.before + $2 >= $6)
            ), account AS (
                -- Who finds a row that was not there before has not waited for it, and begins again.
                INSERT INTO balances AS b (user_id, balance) SELECT $1, after FROM wanted
                ON CONFLICT (user_id)
                    DO UPDATE SET balance = EXCLUDED.balance, updated_at = clock_timestamp()
                    WHERE EXISTS (SELECT FROM funds)
                RETURNING balance
            ), booked AS (
                INSERT INTO credit_transactions
                    (user_id, transaction_key, amount, type, running_balance, metadata, created_at)
                SELECT $1, $3, after - before, $4, after, $5, clock_timestamp() FROM account, wanted
            )
            SELECT (SELECT amount FROM known) AS known, (SELECT running_balance FROM known) AS left_by_known,
                EXISTS (SELECT FROM account) AS booked, EXISTS (SELECT FROM wanted) AS wanted,
                EXISTS (SELECT FROM users WHERE id = $1) AS is_user,
                COALESCE((SELECT balance FROM account), (SELECT balance FROM funds),
                    (SELECT balance FROM balances WHERE user_id = $1), 0) AS balance
            """,
            user_id,
            amount,
            key,
            kind,
            metadata,
            least,
            LOWEST,
            HIGHEST,
        )

    try:
        row = await once(statement)
        while not row["booked"] and row["known"] is None and (row["wanted"] or await _is_booked(user_id, key)):
            row = await once(statement)  # another one was first, or it was refused for its own booking
    except asyncpg.ForeignKeyViolationError as error:
        raise UnknownUser from error
    if not row["is_user"]:
        raise UnknownUser
    if row["known"] not in (None, amount) and row["left_by_known"] not in (LOWEST, HIGHEST):
        raise KeyReused
    return Booking(balance=row["balance"], booked=row["booked"], known=row["known"] is not None)


async def refilled_balance(user_id: str, refill: int, month: str) -> int:
    """The balance, which is raised to `refill` if that did not happen in this `month` yet. Usually one statement.

    Clocks of several servers differ: for a while, some ask for a month that is over.
    """
    row = await db().fetchrow("SELECT balance, refilled_in FROM balances WHERE user_id = $1", user_id)
    if row is not None and row["refilled_in"] is not None and row["refilled_in"] >= month:
        return int(row["balance"])
    # The row first, by itself: it is the lock, and of two who come at once the later one must see what it says.
    await db().execute(
        "INSERT INTO balances (user_id) SELECT id FROM users WHERE id = $1 ON CONFLICT DO NOTHING", user_id
    )
    await db().execute(
        """
        WITH account AS (
            SELECT user_id, balance, GREATEST($2 - balance, 0) AS amount FROM balances
            WHERE user_id = $1 AND (refilled_in IS NULL OR refilled_in < $3)
            FOR NO KEY UPDATE
        ), filled AS (
            UPDATE balances b SET balance = a.balance + a.amount, refilled_in = $3, updated_at = clock_timestamp()
            FROM account a WHERE b.user_id = a.user_id
        )
        INSERT INTO credit_transactions
            (user_id, transaction_key, amount, type, running_balance, metadata, created_at)
        SELECT user_id, 'MONTHLY-CREDIT-TOP-UP-' || $3, amount, 'GRANT', balance + amount, $4, clock_timestamp()
        FROM account WHERE amount > 0
        """,
        user_id,
        refill,
        month,
        _encoder.encode(Usage(reason="Monthly credit refill")),
    )
    return await balance(user_id)


async def list_of_user(user_id: str, limit: int) -> list[Transaction]:
    """The newest rows. Rows of one moment were written by one statement, each on top of the one before it."""
    rows = await db().fetch(
        """
        SELECT transaction_key, amount, type, running_balance, metadata, created_at FROM credit_transactions
        WHERE user_id = $1 ORDER BY created_at DESC, running_balance LIMIT $2
        """,
        user_id,
        limit,
    )
    return [
        Transaction(**{**row, "type": TransactionType(row["type"]), "metadata": msgspec.json.decode(row["metadata"])})
        for row in rows
    ]


async def note_shortage(user_id: str, graph_id: str) -> bool:
    """Whether this is the first shortage of the graph's runs since the user got credits. One of several at once is."""
    return bool(
        await db().fetchval(
            """
            INSERT INTO shortage_notices AS n (user_id, graph_id) VALUES ($1, $2)
            ON CONFLICT (user_id, graph_id) DO UPDATE SET noted_at = clock_timestamp()
            WHERE n.noted_at < (
                SELECT max(created_at) FROM credit_transactions
                WHERE user_id = $1 AND type IN ('GRANT', 'TOP_UP')
            )
            RETURNING true
            """,
            user_id,
            graph_id,
        )
    )
