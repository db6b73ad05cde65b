"""`agentplat migrate`."""

import asyncio

import click

from agentplat.cli.console import out
from agentplat.cli.database import with_database
from agentplat.infra.migrate import migrate, pending
from agentplat.infra.settings import get_settings


@click.command("migrate")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if migrations are missing.")
def command(check: bool) -> None:
    """Bring the database schema up to date.

    Works on DATABASE_URL, or on the embedded Postgres. Safe to run twice, and in two processes at once.
    """
    with with_database(get_settings()) as settings:
        ids = asyncio.run(pending(settings) if check else migrate(settings))
    for migration_id in ids:
        out.print(f"{'missing' if check else 'applied'} {migration_id}")
    if not ids:
        out.print("The database schema is up to date.")
    elif check:
        raise SystemExit(1)
