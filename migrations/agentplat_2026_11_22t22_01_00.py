"""How well runs did what they were for, as a language model judges it."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

ID = "2026-11-22T22:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Scores of runs"

STATEMENTS = [
    # Beside `stats`, which has it for people, so that trends need no documents.
    "ALTER TABLE runs ADD COLUMN correctness_score double precision",
    # No run is in it while it goes on, so it costs the engine nothing.
    "CREATE INDEX runs_scored ON runs (graph_id, created_at) WHERE correctness_score IS NOT NULL AND NOT is_deleted",
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="agentplat", description=DESCRIPTION)

    async def create() -> None:
        for statement in STATEMENTS:
            await Table.raw(statement)

    async def drop() -> None:
        await Table.raw("ALTER TABLE runs DROP COLUMN IF EXISTS correctness_score")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
