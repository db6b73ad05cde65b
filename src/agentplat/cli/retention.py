"""`agentplat retention`."""

import asyncio

import click
from rich.filesize import decimal

from agentplat.cli.console import out, table
from agentplat.cli.database import with_database
from agentplat.infra.db import close_database, open_database
from agentplat.infra.errors import ConfigError
from agentplat.infra.migrate import pending
from agentplat.infra.settings import Settings, get_settings
from agentplat.runs import service as runs
from agentplat.schedules import service as schedules


@click.command("retention")
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    help="Keep journals and histories of this many days.  [default: AGENTPLAT_RETENTION_DAYS or 30]",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be dropped.")
def command(days: int | None, dry_run: bool) -> None:
    """Drop what is long over: journals of runs, the history of schedules, and idempotency keys that have expired.

    Runs keep their inputs, outputs and node executions. A day with unfinished runs is kept whole. Works on
    DATABASE_URL, or on the embedded Postgres, while everything runs. Exit status 1 if something was in use and stays.
    """
    settings = get_settings()
    days = days or settings.retention_days
    with with_database(settings) as usable:
        retired, firings = asyncio.run(_retire(usable, days, dry_run))
    done = "would be dropped" if dry_run else "dropped"
    table(
        ("What", "Size", "Result"),
        [
            *(
                (f"journal of {one.day}", decimal(one.bytes), f"kept: {one.kept}" if one.kept else done)
                for one in retired.days
            ),
            *([("history of schedules", firings, done)] if firings else []),
            ("expired idempotency keys", retired.keys, done),
        ],
    )
    if out.is_terminal and not retired.days:
        out.print(f"No journal is older than {days} days.")
    if any(one.kept == runs.IN_USE for one in retired.days):
        raise SystemExit(1)


async def _retire(settings: Settings, days: int, dry_run: bool) -> tuple[runs.Retired, int]:
    if await pending(settings):
        raise ConfigError("The database schema is not up to date.", hint="Run `agentplat migrate` first.")
    await open_database(settings)
    try:
        return await runs.retire(days, dry_run), await schedules.retire(days, dry_run)
    finally:
        await close_database()
