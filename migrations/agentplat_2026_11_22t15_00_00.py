"""The ledger of credits, and the count of node executions that the execution fee is taken for."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "credit_transactions, balances.executions"

STATEMENTS = [
    "ALTER TABLE balances ADD COLUMN executions bigint NOT NULL DEFAULT 0 CHECK (executions >= 0)",
    # Rows are only ever added. Deleting a user who has any is refused: the sum of somebody's rows is their balance, and
    # whoever came back under the same id would start with a balance of 0 on top of old rows.
    """
    CREATE TABLE credit_transactions (
        user_id text COLLATE "C" NOT NULL REFERENCES users,
        transaction_key text COLLATE "C" NOT NULL,
        amount bigint NOT NULL,
        type text NOT NULL CHECK (type IN ('TOP_UP', 'USAGE', 'GRANT', 'REFUND', 'CARD_CHECK')),
        running_balance bigint NOT NULL,
        metadata bytea NOT NULL,
        is_active boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (user_id, transaction_key),
        CONSTRAINT spending_takes CHECK (type <> 'USAGE' OR amount < 0),
        CONSTRAINT spending_leaves_no_debt CHECK (type <> 'USAGE' OR running_balance >= 0)
    )
    """,
    "CREATE INDEX credit_transactions_of_user ON credit_transactions (user_id, created_at DESC)",
]
UNDO = ["DROP TABLE IF EXISTS credit_transactions", "ALTER TABLE balances DROP COLUMN IF EXISTS executions"]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
