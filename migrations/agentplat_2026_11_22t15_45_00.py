"""Finding the runs that have to end though nobody drives them, among any number of runs that are over."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T15:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "runs past their deadline or to be stopped"

STATEMENTS = [
    "CREATE INDEX runs_overdue ON runs (deadline) WHERE status IN ('QUEUED', 'REVIEW')",
    """
    CREATE INDEX runs_to_stop ON runs (created_at)
    WHERE status IN ('QUEUED', 'REVIEW') AND stop_requested_at IS NOT NULL
    """,
]

UNDO = [
    "DROP INDEX IF EXISTS runs_overdue, runs_to_stop",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
