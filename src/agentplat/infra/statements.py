"""Migrations are statements: some that go forwards, and some that undo them."""

from collections.abc import Sequence

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.table import Table


def migration(migration_id: str, description: str, forwards: Sequence[str], undo: Sequence[str]) -> MigrationManager:
    manager = MigrationManager(migration_id=migration_id, app_name="agentplat", description=description)

    async def go() -> None:
        await _execute(forwards)

    async def back() -> None:
        await _execute(undo)

    manager.add_raw(go)
    manager.add_raw_backwards(back)
    return manager


async def _execute(statements: Sequence[str]) -> None:
    for statement in statements:
        await Table.raw(statement)
