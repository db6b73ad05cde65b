"""Files that users upload: what is known of them; what is in them is in the storage."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

ID = "2026-11-22T19:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "uploaded files"

STATEMENTS = [
    # A row outlives its user: without it nobody would know of the file that has to be removed.
    """
    CREATE TABLE files (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" REFERENCES users ON DELETE SET NULL,
        name text NOT NULL,
        content_type text NOT NULL,
        size bigint,
        sha256 bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CHECK ((size IS NULL) = (sha256 IS NULL))
    )
    """,
    "CREATE INDEX files_by_expiry ON files (expires_at)",
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="agentplat", description=DESCRIPTION)

    async def create() -> None:
        for statement in STATEMENTS:
            await Table.raw(statement)

    async def drop() -> None:
        await Table.raw("DROP TABLE IF EXISTS files")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
