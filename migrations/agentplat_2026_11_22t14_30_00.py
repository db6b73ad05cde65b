"""Idempotency keys: which request a key stands for, and what was answered."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T14:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "idempotency keys"

STATEMENTS = [
    # No foreign key to the run: a key outlives it, since a request that comes again must not begin another.
    """
    CREATE TABLE idempotency_keys (
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        key text COLLATE "C" NOT NULL,
        fingerprint bytea NOT NULL,
        run_id text COLLATE "C" NOT NULL,
        response bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (user_id, key)
    )
    """,
    "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at)",
]

UNDO = [
    "DROP TABLE IF EXISTS idempotency_keys",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
