"""Credentials of users, a row each, sealed."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T19:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "credentials"

STATEMENTS = [
    # Clients may choose ids, so an id says something only together with its user.
    """
    CREATE TABLE credentials (
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        id text COLLATE "C" NOT NULL,
        provider text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        title text,
        scopes text[],
        username text,
        host text,
        sealed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (user_id, id)
    )
    """,
]

UNDO = [
    "DROP TABLE IF EXISTS credentials",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
