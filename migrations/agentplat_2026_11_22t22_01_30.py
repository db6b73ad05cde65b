"""How many bytes of uploads each user has."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table

ID = "2026-11-22T22:01:30:000000"
VERSION = "1.38.0"
DESCRIPTION = "Bytes of uploads by user"

STATEMENTS = [
    # A row to wait for, so that of uploads that end at once each sees what the others have taken.
    """
    CREATE TABLE file_usage (
        user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        bytes bigint NOT NULL CHECK (bytes >= 0)
    )
    """,
    """
    INSERT INTO file_usage (user_id, bytes)
    SELECT user_id, sum(size) FROM files WHERE size IS NOT NULL AND user_id IS NOT NULL GROUP BY user_id
    """,
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="agentplat", description=DESCRIPTION)

    async def create() -> None:
        for statement in STATEMENTS:
            await Table.raw(statement)

    async def drop() -> None:
        await Table.raw("DROP TABLE IF EXISTS file_usage")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
