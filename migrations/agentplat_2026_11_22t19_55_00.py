"""Ranks of some runs, so that pages of very many need not be counted up to."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

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

UNDO = [
    "DROP TABLE IF EXISTS run_marks",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
