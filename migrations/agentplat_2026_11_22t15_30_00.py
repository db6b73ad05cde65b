"""Runs take turns: a place for each one that goes on, and an order for those that wait."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T15:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "places and turns of runs"

STATEMENTS = [
    "ALTER TABLE runs ADD COLUMN place integer CHECK (place > 0)",
    # One index for each of the two statuses that runs pass through, so that a plan that was made while few runs waited
    # is still right when many do.
    "DROP INDEX runs_unfinished",
    # That no two running runs of one user and graph have the same place is what limits their number. A run leaves the
    # index when its status changes, so nothing has to give a place back, and no count can drift from the truth.
    "CREATE UNIQUE INDEX runs_places ON runs (user_id, graph_id, place) WHERE status = 'RUNNING'",
    # The order of those that wait. The expression is their lane: the graph, and one of their own for sub-runs.
    """
    CREATE INDEX runs_waiting ON runs (user_id, (CASE WHEN parent_id IS NULL THEN graph_id ELSE '' END), created_at, id)
    WHERE status = 'QUEUED'
    """,
]

UNDO = [
    "DROP INDEX IF EXISTS runs_places, runs_waiting",
    "CREATE INDEX runs_unfinished ON runs (created_at) WHERE status IN ('QUEUED', 'RUNNING')",
    "ALTER TABLE runs DROP COLUMN IF EXISTS place",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
