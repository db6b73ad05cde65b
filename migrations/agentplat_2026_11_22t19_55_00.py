"""Ranks of some runs, so that pages of very many need not be counted up to."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

ID = "2026-11-22T19:55:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "run_marks"

STATEMENTS = [
    # Ranks aren't unique: when they change, two marks have the same one for the length of a statement.
    """
    CREATE TABLE run_marks (
        id text COLLATE "C" PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
        user_id text COLLATE "C" NOT NULL,
        graph_id text COLLATE "C" NOT NULL,
        rank bigint NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX run_marks_by_rank ON run_marks (user_id, graph_id, rank)",
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="agentplat", description=DESCRIPTION)

    async def create() -> None:
        for statement in STATEMENTS:
            await Table.raw(statement)

    async def drop() -> None:
        await Table.raw("DROP TABLE IF EXISTS run_marks")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
