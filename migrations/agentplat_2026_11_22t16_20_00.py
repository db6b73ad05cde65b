"""Big values of runs: stored once per run by their content, and named in the rows that they were cut out of."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T16:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "blobs"

STATEMENTS = [
    """
    CREATE TABLE blobs (
        run_id text COLLATE "C" NOT NULL REFERENCES runs ON DELETE CASCADE,
        hash bytea NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (run_id, hash)
    )
    """,
    "ALTER TABLE journal ADD COLUMN handles bytea",
    "ALTER TABLE runs ADD COLUMN result_handles bytea",
]

UNDO = [
    "ALTER TABLE runs DROP COLUMN IF EXISTS result_handles",
    "ALTER TABLE journal DROP COLUMN IF EXISTS handles",
    "DROP TABLE IF EXISTS blobs",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
