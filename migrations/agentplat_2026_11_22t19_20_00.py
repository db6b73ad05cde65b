"""A ledger that only grows, that runs are found in, and what a balance wants to happen by itself."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T19:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "credit_transactions.run_id, append only; balances: top-ups and refills"

STATEMENTS = [
    # Payments that are not through yet have a table of their own, so every row of the ledger counts.
    "DELETE FROM credit_transactions WHERE NOT is_active",
    'ALTER TABLE credit_transactions DROP COLUMN is_active, ADD COLUMN run_id text COLLATE "C"',
    """
    UPDATE credit_transactions SET run_id = convert_from(metadata, 'UTF8')::jsonb ->> 'graph_exec_id'
    WHERE type = 'USAGE' AND metadata <> ''
    """,
    """
    CREATE INDEX credit_transactions_of_run ON credit_transactions (user_id, run_id, created_at DESC)
    WHERE run_id IS NOT NULL
    """,
    # For administrators, who look at everybody's.
    "CREATE INDEX credit_transactions_newest ON credit_transactions (created_at DESC)",
    """
    CREATE FUNCTION refuse_to_change_the_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'rows of the ledger are only ever added' USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON credit_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_ledger()
    """,
    """
    ALTER TABLE balances
        ADD COLUMN top_up_amount bigint NOT NULL DEFAULT 0 CHECK (top_up_amount >= 0),
        ADD COLUMN top_up_threshold bigint NOT NULL DEFAULT 0 CHECK (top_up_threshold >= 0),
        ADD COLUMN top_up_due boolean NOT NULL DEFAULT false,
        ADD COLUMN refilled_in text
    """,
    "CREATE INDEX balances_due ON balances (user_id) WHERE top_up_due",
]
UNDO = [
    """
    ALTER TABLE balances DROP COLUMN IF EXISTS top_up_amount, DROP COLUMN IF EXISTS top_up_threshold,
        DROP COLUMN IF EXISTS top_up_due, DROP COLUMN IF EXISTS refilled_in
    """,
    "DROP TRIGGER IF EXISTS append_only ON credit_transactions",
    "DROP FUNCTION IF EXISTS refuse_to_change_the_ledger",
    "DROP INDEX IF EXISTS credit_transactions_newest",
    """
    ALTER TABLE credit_transactions DROP COLUMN IF EXISTS run_id,
        ADD COLUMN IF NOT EXISTS is_active boolean NOT NULL DEFAULT true
    """,
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
