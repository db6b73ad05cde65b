"""Keys for programs, found by one index."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-22T17:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "API keys"

STATEMENTS = [
    # The hash is what a key is looked up by; head and tail are for people. One that is revoked stays so.
    """
    CREATE TABLE api_keys (
        id text COLLATE "C" PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
        name text NOT NULL,
        description text,
        head text NOT NULL,
        tail text NOT NULL,
        hash bytea NOT NULL UNIQUE,
        status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'REVOKED')),
        permissions text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX api_keys_of_user ON api_keys (user_id, created_at DESC, id DESC)",
]

UNDO = [
    "DROP TABLE IF EXISTS api_keys",
]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
