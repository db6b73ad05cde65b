"""What users may say about themselves: addresses, and which mails they want.

An address belongs to one user, whatever its case. Where several rows have the same one, only the oldest keeps it; the
others get theirs back from their token at the next log-in, if it is free by then.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T17:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "addresses and preferences of users"

NOTIFICATIONS = (
    *("agent_run", "zero_balance", "low_balance", "block_execution_failed", "continuous_agent_error"),
    *("daily_summary", "weekly_summary", "monthly_summary", "agent_approved", "agent_rejected"),
)
COLUMNS = [
    "email_verified boolean NOT NULL DEFAULT true",
    # Asked for, and not proven to be the user's yet.
    "pending_email text",
    "max_emails_per_day integer NOT NULL DEFAULT 3 CHECK (max_emails_per_day >= 0)",
    *(f"notify_on_{name} boolean NOT NULL DEFAULT true" for name in NOTIFICATIONS),
]
STATEMENTS = [
    "ALTER TABLE users " + ", ".join(f"ADD COLUMN {column}" for column in COLUMNS),
    """
    UPDATE users SET email = NULL
    WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY lower(email) ORDER BY created_at, id) AS rank
            FROM users WHERE email IS NOT NULL
        ) ranked WHERE rank > 1
    )
    """,
    "CREATE UNIQUE INDEX users_email ON users (lower(email))",
]

UNDO = [
    "DROP INDEX IF EXISTS users_email",
    *(f"ALTER TABLE users DROP COLUMN IF EXISTS {column.split()[0]}" for column in COLUMNS),
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
