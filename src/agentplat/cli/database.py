"""The database that a command works on, whoever runs it: DATABASE_URL, or the embedded Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from agentplat.cli.supervisor import running
from agentplat.embedded import EmbeddedServices
from agentplat.infra.settings import Settings


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
