"""How far users have come, and what their clients report."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T20:05:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Onboarding and analytics"

STATEMENTS = [
    # Runs accepted up to `counted_until` are in `agent_runs`, which is what makes counting them once possible.
    """
    CREATE TABLE onboarding (
        user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        completed_steps text[] NOT NULL DEFAULT ARRAY[]::text[],
        wallet_shown boolean NOT NULL DEFAULT false,
        notified text[] NOT NULL DEFAULT ARRAY[]::text[],
        rewarded_for text[] NOT NULL DEFAULT ARRAY[]::text[],
        usage_reason text,
        integrations text[] NOT NULL DEFAULT ARRAY[]::text[],
        other_integrations text,
        selected_store_listing_version_id text,
        agent_input bytea,
        onboarding_agent_execution_id text,
        agent_runs integer NOT NULL DEFAULT 0,
        last_run_at timestamptz,
        consecutive_run_days integer NOT NULL DEFAULT 0,
        counted_until timestamptz NOT NULL DEFAULT to_timestamp(0)
    )
    """,
    """
    CREATE TABLE analytics_metrics (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        analytic_metric text NOT NULL,
        value double precision NOT NULL,
        data_string text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX analytics_metrics_of_user ON analytics_metrics (user_id, created_at)",
    """
    CREATE TABLE analytics_details (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        type text NOT NULL,
        data json NOT NULL,
        data_index text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX analytics_details_of_user ON analytics_details (user_id, type, created_at)",
]

UNDO = [
    "DROP TABLE IF EXISTS onboarding, analytics_metrics, analytics_details",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
