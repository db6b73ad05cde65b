"""The database that a command works on, whoever runs it: DATABASE_URL, or the embedded Postgres."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from agentplat.cli.supervisor import running
from agentplat.embedded import EmbeddedServices
from agentplat.infra.db import close_database, open_database
from agentplat.infra.errors import ConfigError
from agentplat.infra.migrate import pending
from agentplat.infra.settings import Settings, get_settings

T = TypeVar("T")


@contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """The settings with a `database_url` that answers while the block runs."""
    if settings.database_url is not None:
        yield settings
    elif (platform := running(settings)) is not None:
        yield msgspec.structs.replace(settings, database_url=platform.database_url)
    else:
        with EmbeddedServices(valkey=False) as services:
            urls = services.start(settings.home)
            yield msgspec.structs.replace(settings, database_url=urls.database_url)


def on_database(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work on the database that the platform uses, if its schema is up to date."""
    with with_database(get_settings()) as settings:
        return asyncio.run(_on_database(settings, work))


async def _on_database(settings: Settings, work: Callable[[], Awaitable[T]]) -> T:
    if await pending(settings):
        raise ConfigError("The database schema is not up to date.", hint="Run `agentplat migrate` first.")
    await open_database(settings)
    try:
        return await work()
    finally:
        await close_database()
