"""Who was told that credits ran out, so that nobody is told again and again."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T17:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "notices of shortage"

STATEMENTS = [
    """
    CREATE TABLE shortage_notices (
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        graph_id text COLLATE "C" NOT NULL,
        noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (user_id, graph_id)
    )
    """,
]

UNDO = [
    "DROP TABLE IF EXISTS shortage_notices",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
