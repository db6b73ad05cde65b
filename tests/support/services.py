"""The real Postgres and Redis that tests run against: one pair for a whole test run, however many processes it has.

The process that the user started (under xdist: the controller) owns the servers; they die with it. To test against
servers of your own, set AGENTPLAT_TEST_DATABASE_URL and AGENTPLAT_TEST_REDIS_URL.
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import msgspec

from agentplat.embedded import EmbeddedServices
from agentplat.infra.migrate import migrate
from agentplat.infra.settings import PROVIDER_KEYS, Settings

TEMPLATE = "agentplat_test_template"
# Whatever the shell has set must not change what is tested.
FOREIGN_PREFIXES = ("AGENTPLAT_", "JWT_", "OPENAI_", "ENABLE_", "LOG_", "PICCOLO_", "PG", "CLAMAV_", "UPLOAD_")
FOREIGN = (
    *("APP_ENV", "DATABASE_URL", "REDIS_URL", "SUPABASE_JWT_SECRET", "FRONTEND_BASE_URL", "BACKEND_CORS_ALLOW_ORIGINS"),
    *PROVIDER_KEYS,
)
OWN_SERVERS = ("AGENTPLAT_TEST_DATABASE_URL", "AGENTPLAT_TEST_REDIS_URL")
# Where blocks stand that only tests need, as the setting has it.
BLOCK_MODULES = "tests.support.blocks,tests.support.callers,tests.support.vault"
JWT_KEY = "a-key-for-tests-that-is-long-enough"


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """`database_url` is for administration: every test process makes its own database from the template."""

    database_url: str
    redis_url: str


class ServersOwner:
    """Starts the servers and the migrated template; removes everything at the end."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="agentplat-test-"))
        self._services = EmbeddedServices(
            postgres=OWN_SERVERS[0] not in os.environ, valkey=OWN_SERVERS[1] not in os.environ
        )

    def start(self) -> Servers:
        try:
            urls = self._services.start(self.home)
            servers = Servers(
                database_url=os.environ.get(OWN_SERVERS[0]) or str(urls.database_url),
                redis_url=os.environ.get(OWN_SERVERS[1]) or str(urls.redis_url),
            )
            asyncio.run(_make_template(servers.database_url))
        except BaseException:
            self.stop()
            raise
        return servers

    def stop(self) -> None:
        self._services.stop()
        shutil.rmtree(self.home, ignore_errors=True)


async def _make_template(admin_url: str) -> None:
    await create_database(admin_url, TEMPLATE, template="template0")
    await migrate(Settings(database_url=database_of(admin_url, TEMPLATE)))


async def create_database(admin_url: str, name: str, template: str = TEMPLATE) -> str:
    """A fresh database of that name, and its URL."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    return database_of(admin_url, name)


async def drop_database(admin_url: str, name: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def database_of(url: str, name: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}{'?' if parts.query else ''}{parts.query}"


def redis_database(url: str, number: int) -> str:
    parts = urlsplit(url)
    # A socket's path is the URL's path, so that its database stands in the query.
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={number}"
    return f"{parts.scheme}://{parts.netloc}/{number}"


def clear_environment() -> None:
    for name in list(os.environ):
        if name not in OWN_SERVERS and (name in FOREIGN or name.startswith(FOREIGN_PREFIXES)):
            del os.environ[name]
