"""Payments, what took them back, and who is whom at Stripe."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T19:25:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "payments, payment_reversals, refund_requests, stripe_customers, stripe_events"

STATEMENTS = [
    """
    CREATE TABLE stripe_customers (
        user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        customer_id text COLLATE "C" NOT NULL UNIQUE
    )
    """,
    # Like the ledger, these outlive what they were for: they say where its rows came from.
    """
    CREATE TABLE payments (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users,
        kind text NOT NULL CHECK (kind IN ('CHECKOUT', 'TOP_UP', 'AUTO_TOP_UP')),
        amount bigint NOT NULL CHECK (amount > 0),
        paid bigint NOT NULL DEFAULT 0 CHECK (paid >= 0),
        status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PAID', 'FAILED')),
        session_id text COLLATE "C" UNIQUE,
        intent_id text COLLATE "C" UNIQUE,
        failure text,
        attempts integer NOT NULL DEFAULT 0,
        attempt_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT paid_payments_have_a_key
            CHECK (status <> 'PAID' OR COALESCE(intent_id, session_id) IS NOT NULL)
    )
    """,
    # One charge of somebody's card at a time is a fact of the database, not a hope of the code.
    """
    CREATE UNIQUE INDEX payments_one_charge ON payments (user_id) WHERE status = 'PENDING' AND kind <> 'CHECKOUT'
    """,
    "CREATE INDEX payments_waiting ON payments (attempt_at) WHERE status = 'PENDING'",
    "CREATE INDEX payments_of_user ON payments (user_id, created_at DESC)",
    """
    CREATE TABLE payment_reversals (
        id text COLLATE "C" PRIMARY KEY,
        intent_id text COLLATE "C" NOT NULL,
        amount bigint NOT NULL CHECK (amount > 0),
        credits bigint NOT NULL DEFAULT 0 CHECK (credits >= 0),
        state text NOT NULL CHECK (state IN ('OPEN', 'TAKEN', 'RETURNED')),
        conceded boolean,
        answered boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX payment_reversals_of_intent ON payment_reversals (intent_id)",
    """
    CREATE TABLE refund_requests (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users,
        transaction_key text COLLATE "C" NOT NULL,
        amount bigint NOT NULL,
        reason text NOT NULL,
        details bytea NOT NULL,
        result text,
        status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED')),
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX refund_requests_of_user ON refund_requests (user_id, created_at DESC)",
    """
    CREATE UNIQUE INDEX refund_requests_one_open ON refund_requests (user_id, transaction_key)
    WHERE status = 'PENDING'
    """,
    """
    CREATE TABLE stripe_events (
        id text COLLATE "C" PRIMARY KEY,
        type text NOT NULL,
        done_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX stripe_events_oldest ON stripe_events (done_at)",
]
TABLES = ["stripe_events", "refund_requests", "payment_reversals", "payments", "stripe_customers"]

UNDO = [
    *(f"DROP TABLE IF EXISTS {table}" for table in TABLES),
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
