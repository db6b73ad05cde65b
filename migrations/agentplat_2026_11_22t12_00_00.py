"""The first schema: users, graphs, library, balances, runs and the partitioned journal.

Written as SQL because half of it (partitions, collations, partial indexes, checks) has no spelling in the table
classes. `tests/test_schema.py` holds the table classes against the migrated database.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "users, graphs, library, balances, runs, journal"

# Ids are text, because a user's id is whatever the auth provider put into `sub`; "C" makes comparing them a memcmp.
STATEMENTS = [
    """
    CREATE TABLE users (
        id text COLLATE "C" PRIMARY KEY,
        email text,
        name text,
        timezone text NOT NULL DEFAULT 'not-set',
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE balances (
        user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        balance bigint NOT NULL DEFAULT 0,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE graph_versions (
        id text COLLATE "C" NOT NULL,
        version integer NOT NULL CHECK (version > 0),
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        name text NOT NULL,
        description text NOT NULL,
        instructions text,
        recommended_schedule_cron text,
        is_active boolean NOT NULL DEFAULT true,
        forked_from_id text,
        forked_from_version integer,
        body bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (id, version)
    )
    """,
    # At most one active version per graph is a fact of the database, not a hope of the code.
    "CREATE UNIQUE INDEX graph_versions_one_active ON graph_versions (id) WHERE is_active",
    "CREATE INDEX graph_versions_of_user ON graph_versions (user_id, version DESC, id) WHERE is_active",
    """
    CREATE TABLE library_agents (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        graph_id text COLLATE "C" NOT NULL,
        graph_version integer NOT NULL,
        is_created_by_user boolean NOT NULL DEFAULT false,
        is_favorite boolean NOT NULL DEFAULT false,
        is_archived boolean NOT NULL DEFAULT false,
        is_deleted boolean NOT NULL DEFAULT false,
        settings text NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (user_id, graph_id),
        FOREIGN KEY (graph_id, graph_version) REFERENCES graph_versions (id, version) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX library_agents_of_graph ON library_agents (graph_id, graph_version)",
    """
    CREATE TABLE runs (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        graph_id text COLLATE "C" NOT NULL,
        graph_version integer NOT NULL,
        preset_id text,
        parent_id text COLLATE "C",
        root_id text COLLATE "C" NOT NULL,
        status text NOT NULL CHECK (status IN ('QUEUED', 'RUNNING', 'REVIEW', 'COMPLETED', 'FAILED', 'TERMINATED')),
        request bytea NOT NULL,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        deadline timestamptz NOT NULL,
        stop_requested_at timestamptz,
        lease_owner text,
        lease_until timestamptz,
        fence integer NOT NULL DEFAULT 0,
        stats bytea,
        outputs bytea,
        node_executions bytea,
        is_deleted boolean NOT NULL DEFAULT false,
        is_shared boolean NOT NULL DEFAULT false,
        share_token text UNIQUE,
        shared_at timestamptz,
        FOREIGN KEY (graph_id, graph_version) REFERENCES graph_versions (id, version) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX runs_of_user ON runs (user_id, created_at DESC, id DESC) WHERE NOT is_deleted",
    "CREATE INDEX runs_of_graph ON runs (user_id, graph_id, created_at DESC, id DESC) WHERE NOT is_deleted",
    "CREATE INDEX runs_of_graph_version ON runs (graph_id, graph_version)",
    "CREATE INDEX runs_unfinished ON runs (created_at) WHERE status IN ('QUEUED', 'RUNNING')",
    "CREATE INDEX runs_of_parent ON runs (parent_id) WHERE parent_id IS NOT NULL",
    # One row is one segment: the messages of one run that one group commit made durable. `run_day` is the day the run
    # was created, so that all rows of a run share a partition and retention drops whole partitions.
    """
    CREATE TABLE journal (
        run_id text COLLATE "C" NOT NULL,
        seq integer NOT NULL,
        run_day date NOT NULL,
        fence integer NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (run_id, seq, run_day)
    ) PARTITION BY RANGE (run_day)
    """,
]
TABLES = ["journal", "runs", "library_agents", "graph_versions", "balances", "users"]

UNDO = [
    *(f"DROP TABLE IF EXISTS {table} CASCADE" for table in TABLES),
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
