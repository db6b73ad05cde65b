"""Idempotency keys: which request a key stands for, and what was answered."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

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


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="agentplat", description=DESCRIPTION)

    async def create() -> None:
        for statement in STATEMENTS:
            await Table.raw(statement)

    async def drop() -> None:
        await Table.raw("DROP TABLE IF EXISTS idempotency_keys")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
