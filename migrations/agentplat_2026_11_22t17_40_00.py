"""Who was told that credits ran out, so that nobody is told again and again."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

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


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="agentplat", description=DESCRIPTION)

    async def create() -> None:
        for statement in STATEMENTS:
            await Table.raw(statement)

    async def drop() -> None:
        await Table.raw("DROP TABLE IF EXISTS shortage_notices")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
