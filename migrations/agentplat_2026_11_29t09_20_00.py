"""Who acted in whose name."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-29T09:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "record of impersonations"

STATEMENTS = [
    # Refers to no user, so that it is there when one is not any more.
    """
    CREATE TABLE impersonations (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        admin_id text COLLATE "C" NOT NULL,
        admin_email text,
        user_id text COLLATE "C" NOT NULL,
        method text NOT NULL,
        path text NOT NULL,
        request_id text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX impersonations_of_user ON impersonations (user_id, created_at DESC)",
]

UNDO = [
    "DROP TABLE IF EXISTS impersonations",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
