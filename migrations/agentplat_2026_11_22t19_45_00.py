"""Files that users upload: what is known of them; what is in them is in the storage."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

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

UNDO = [
    "DROP TABLE IF EXISTS files",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
