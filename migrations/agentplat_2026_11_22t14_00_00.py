"""Runs inside runs, and runs that wait for people: lineage, mail, reviews."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "sub-runs, mail, reviews"

STATEMENTS = [
    "ALTER TABLE runs ADD COLUMN parent_activation integer, ADD COLUMN depth integer NOT NULL DEFAULT 0",
    # A run that others write to has a mailbox. `letters` is the number of its last letter; `parked` says that no worker
    # holds the run, because there is nothing to do until the next letter. It is a row of its own so that a sub-run's
    # commit never waits for its parent's.
    """
    CREATE TABLE mailboxes (
        run_id text COLLATE "C" PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
        letters integer NOT NULL DEFAULT 0,
        parked boolean NOT NULL DEFAULT false
    )
    """,
    """
    CREATE TABLE mail (
        run_id text COLLATE "C" NOT NULL REFERENCES mailboxes ON DELETE CASCADE,
        number integer NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (run_id, number)
    )
    """,
    """
    CREATE TABLE reviews (
        node_exec_id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        run_id text COLLATE "C" NOT NULL REFERENCES runs ON DELETE CASCADE,
        activation integer,
        node_id text NOT NULL,
        graph_id text NOT NULL,
        graph_version integer NOT NULL,
        payload bytea NOT NULL,
        instructions text,
        editable boolean NOT NULL DEFAULT true,
        status text NOT NULL DEFAULT 'WAITING' CHECK (status IN ('WAITING', 'APPROVED', 'REJECTED')),
        review_message text,
        was_edited boolean,
        processed boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL,
        updated_at timestamptz,
        reviewed_at timestamptz
    )
    """,
    "CREATE INDEX reviews_pending ON reviews (user_id, created_at DESC) WHERE status = 'WAITING'",
    "CREATE INDEX reviews_of_run ON reviews (run_id, created_at)",
]

UNDO = [
    *(f"DROP TABLE IF EXISTS {table} CASCADE" for table in ("reviews", "mail", "mailboxes")),
    "ALTER TABLE runs DROP COLUMN IF EXISTS parent_activation, DROP COLUMN IF EXISTS depth",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
