"""Signing in without anybody else: passwords, sessions, and tokens that prove an address."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T17:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "logins, sessions, one-time tokens"

STATEMENTS = [
    """
    CREATE TABLE logins (
        user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        password_hash text,
        role text NOT NULL DEFAULT 'authenticated' CHECK (role IN ('authenticated', 'admin')),
        last_sign_in_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # A session is a family of refresh tokens, of which `generation` numbers the one that counts.
    """
    CREATE TABLE sessions (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        generation integer NOT NULL DEFAULT 1,
        rotated_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX sessions_of_user ON sessions (user_id)",
    # Looked up by the hash. `sealed` is the token itself, for whoever mails it. One of a kind per user bounds them.
    """
    CREATE TABLE one_time_tokens (
        hash bytea PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        kind text NOT NULL CHECK (kind IN ('recovery', 'email_change')),
        address text NOT NULL,
        sealed bytea NOT NULL,
        redirect_to text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        UNIQUE (user_id, kind)
    )
    """,
]

UNDO = [
    "DROP TABLE IF EXISTS one_time_tokens, sessions, logins",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
