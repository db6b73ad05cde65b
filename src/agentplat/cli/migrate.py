"""`agentplat migrate`."""

import asyncio

import click
import msgspec

from agentplat.cli.console import out
from agentplat.cli.supervisor import running
from agentplat.embedded import EmbeddedServices
from agentplat.infra.migrate import migrate, pending
from agentplat.infra.settings import Settings, get_settings


@click.command("migrate")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if migrations are missing.")
def command(check: bool) -> None:
    """Bring the database schema up to date.

    Works on DATABASE_URL, or on the embedded Postgres. Safe to run twice, and in two processes at once.
    """
    settings = get_settings()
    if settings.database_url is not None:
        _work(settings, check)
    elif (platform := running(settings)) is not None:
        _work(msgspec.structs.replace(settings, database_url=platform.database_url), check)
    else:
        with EmbeddedServices(valkey=False) as services:
            urls = services.start(settings.home)
            _work(msgspec.structs.replace(settings, database_url=urls.database_url), check)


def _work(settings: Settings, check: bool) -> None:
    ids = asyncio.run(pending(settings) if check else migrate(settings))
    for migration_id in ids:
        out.print(f"{'missing' if check else 'applied'} {migration_id}")
    if not ids:
        out.print("The database schema is up to date.")
    elif check:
        raise SystemExit(1)
