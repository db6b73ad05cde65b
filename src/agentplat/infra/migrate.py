"""Bring the schema up to date. Any number of processes may try at once: one works, the others wait and find it done."""

import contextlib
import importlib
import io
from typing import Any

import asyncpg
from piccolo.apps.migrations.commands.base import BaseMigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.conf.apps import AppConfig

from agentplat.infra.db import Database, close_database, open_database
from agentplat.infra.errors import AppError
from agentplat.infra.settings import Settings

# Any constant will do, as long as nobody else on the server picks the same: the bytes of "agentplt".
LOCK = int.from_bytes(b"agentplt", "big")
# By name, because the app's table modules stand above this one.
APP_MODULE = "agentplat.piccolo_app"


class MigrationFailed(AppError):
    """A migration could not be applied."""

    code = "migration_failed"


async def migrate(settings: Settings) -> list[str]:
    """Apply what is missing and return its ids. The schema and the record of it change in one transaction each."""
    database = await open_database(settings)
    try:
        async with database.pool.acquire() as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=None)
            try:
                return await _apply(database)
            finally:
                await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
    finally:
        await close_database()


async def pending(settings: Settings) -> list[str]:
    """The ids that `migrate` would apply. Changes nothing, not even in a database that was never migrated."""
    await open_database(settings)
    try:
        return sorted(set(_modules(_app())) - await _applied(_app()))
    finally:
        await close_database()


async def _apply(database: Database) -> list[str]:
    app = _app()
    modules = _modules(app)
    # Outside this block nobody may create it, hence no race between the question and the answer.
    if not await Migration.table_exists():
        await Migration.create_table()
    missing = sorted(set(modules) - await _applied(app))
    for migration_id in missing:
        manager = await modules[migration_id].forwards()
        try:
            # Piccolo reports progress with print; what was done is our return value.
            with contextlib.redirect_stdout(io.StringIO()):
                if manager.wrap_in_transaction:
                    async with database.transaction():
                        await manager.run()
                        await _record(app, migration_id)
                else:
                    await manager.run()
                    await _record(app, migration_id)
        except asyncpg.PostgresError as error:
            raise MigrationFailed(f"Migration {migration_id} could not be applied: {error}") from error
    return missing


async def _record(app: AppConfig, migration_id: str) -> None:
    await Migration.insert(Migration(name=migration_id, app_name=app.app_name))


async def _applied(app: AppConfig) -> set[str]:
    if not await Migration.table_exists():
        return set()
    return set(await Migration.get_migrations_which_ran(app_name=app.app_name))


def _app() -> AppConfig:
    app: AppConfig = importlib.import_module(APP_MODULE).APP_CONFIG
    return app


def _modules(app: AppConfig) -> dict[str, Any]:
    return dict(BaseMigrationManager().get_migration_modules(app.resolved_migrations_folder_path))
