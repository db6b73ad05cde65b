"""What must be true of everybody's credits at any moment, whatever happened before."""

from agentplat.infra.db import Database


async def unsound_accounts(db: Database) -> list[str]:
    """A line for each user whose balance is not what their ledger says, or was ever spent below zero."""
    rows = await db.fetch(
        """
        WITH chain AS (
            SELECT user_id, type, amount, running_balance,
                running_balance - lag(running_balance, 1, 0::bigint) OVER course AS step
            FROM credit_transactions
            WINDOW course AS (PARTITION BY user_id ORDER BY created_at, running_balance DESC)
        ), sums AS (
            SELECT user_id, sum(amount) AS total, count(*) FILTER (WHERE step <> amount) AS jumps,
                count(*) FILTER (WHERE type = 'USAGE' AND running_balance < 0) AS debts
            FROM chain GROUP BY user_id
        )
        SELECT user_id, balance, COALESCE(total, 0) AS total, COALESCE(jumps, 0) AS jumps, COALESCE(debts, 0) AS debts
        FROM balances FULL JOIN sums USING (user_id)
        WHERE balance IS DISTINCT FROM COALESCE(total, 0) OR jumps > 0 OR debts > 0
        """
    )
    return [str(dict(row)) for row in rows]
