"""Schedules, and what became of each of their firings."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T19:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "schedules"

STATEMENTS = [
    # A schedule goes with the version of the graph that it runs, as runs do.
    """
    CREATE TABLE schedules (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        graph_id text COLLATE "C" NOT NULL,
        graph_version integer NOT NULL,
        name text NOT NULL,
        cron text NOT NULL,
        timezone text NOT NULL,
        missed_runs text NOT NULL CHECK (missed_runs IN ('skip', 'one', 'all')),
        request bytea NOT NULL,
        next_run_at timestamptz,
        last_scheduled_at timestamptz,
        last_run_id text,
        last_outcome text,
        pause_reason text,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CHECK ((next_run_at IS NULL) = (pause_reason IS NOT NULL)),
        FOREIGN KEY (graph_id, graph_version) REFERENCES graph_versions (id, version) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX schedules_due ON schedules (next_run_at) WHERE next_run_at IS NOT NULL",
    "CREATE INDEX schedules_of_user ON schedules (user_id, created_at DESC, id DESC)",
    "CREATE INDEX schedules_of_graph ON schedules (graph_id, graph_version)",
    # The key is what makes it impossible that one time fires twice, whatever schedulers there are.
    """
    CREATE TABLE schedule_firings (
        schedule_id text COLLATE "C" NOT NULL REFERENCES schedules ON DELETE CASCADE,
        scheduled_at timestamptz NOT NULL,
        fired_at timestamptz NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('STARTED', 'FAILED', 'SKIPPED')),
        run_id text,
        code text,
        error text,
        PRIMARY KEY (schedule_id, scheduled_at),
        CHECK ((run_id IS NOT NULL) = (outcome = 'STARTED'))
    )
    """,
    "CREATE INDEX schedule_firings_fired ON schedule_firings (fired_at)",
]

UNDO = [
    *(f"DROP TABLE IF EXISTS {table}" for table in ("schedule_firings", "schedules")),
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
