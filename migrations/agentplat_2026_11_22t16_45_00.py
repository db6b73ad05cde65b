"""Jobs for isolated nodes: what is to be executed, by a process that does not have the run."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T16:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "node jobs"

STATEMENTS = [
    # One row per activation, whatever the number of attempts. It goes with the run's mailbox when the run is final.
    """
    CREATE TABLE node_jobs (
        run_id text COLLATE "C" NOT NULL REFERENCES mailboxes ON DELETE CASCADE,
        activation integer NOT NULL,
        attempt integer NOT NULL,
        repeatable boolean NOT NULL,
        body bytea,
        emitted integer NOT NULL DEFAULT 0,
        claims integer NOT NULL DEFAULT 0,
        lease_until timestamptz,
        offered_at timestamptz NOT NULL DEFAULT now(),
        done boolean NOT NULL DEFAULT false,
        PRIMARY KEY (run_id, activation)
    )
    """,
    "CREATE INDEX node_jobs_open ON node_jobs (offered_at) WHERE NOT done",
]

UNDO = [
    "DROP TABLE IF EXISTS node_jobs",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
