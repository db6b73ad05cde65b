"""`agentplat doctor`."""

import asyncio
import platform as machine
import shutil
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

import click
import msgspec

from agentplat.cli.console import out, table
from agentplat.cli.supervisor import running
from agentplat.embedded import binaries
from agentplat.embedded.account import Account
from agentplat.infra.db import MINIMUM_MAJOR, close_database, db, open_database
from agentplat.infra.errors import AppError
from agentplat.infra.migrate import pending
from agentplat.infra.redis import check_version, connect
from agentplat.infra.settings import Settings, get_settings

LIBRARIES = ("litestar", "granian", "msgspec", "piccolo", "asyncpg", "redis", "saq")
# Leases and deadlines are compared with the database's clock; more than this eats into a lease.
MOST_SKEW_SECONDS = 1.0
LEAST_FREE_BYTES = 1024**3
SHORTEST_KEY = 32


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ok: bool
    text: str


@click.command("doctor")
def command() -> None:
    """Check versions, connections, migrations, clock and disk. Exit status 1 if anything is wrong."""
    settings = get_settings()
    if (state := running(settings)) is not None:
        settings = msgspec.structs.replace(
            settings,
            database_url=settings.database_url or state.database_url,
            redis_url=settings.redis_url or state.redis_url,
        )
    checks = [_versions(), _key(settings), _disk(settings), *asyncio.run(_services(settings))]
    url = state.url if state else None
    checks.append(Check(name="platform", ok=True, text=f"running at {url}" if url else "not running (agentplat up)"))
    table(("", "Check", "Found"), [("ok" if check.ok else "FAIL", check.name, check.text) for check in checks])
    if not all(check.ok for check in checks):
        raise SystemExit(1)
    if out.is_terminal:
        out.print("[green]All is well.[/]")


def _versions() -> Check:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    text = f"agentplat {version('agentplat')}, Python {machine.python_version()}, {libraries}"
    return Check(name="versions", ok=True, text=text)


def _key(settings: Settings) -> Check:
    key = settings.jwt_verify_key or settings.jwt_sign_key or ""
    ok = len(key) >= SHORTEST_KEY or not settings.jwt_sign_algorithm.startswith("HS")
    text = f"{settings.jwt_sign_algorithm}, {len(key)} characters"
    return Check(name="token key", ok=ok, text=text if ok else f"{text}: use at least {SHORTEST_KEY}")


def _disk(settings: Settings) -> Check:
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return Check(name="disk", ok=free >= LEAST_FREE_BYTES, text=f"{free / 1024**3:.1f} GB free for {settings.home}")


async def _services(settings: Settings) -> list[Check]:
    checks = [] if settings.database_url and settings.redis_url else [_embedded()]
    if settings.database_url is not None:
        checks += [check async for check in _database(settings)]
    if settings.redis_url is not None:
        checks.append(await _redis(settings.redis_url))
    return checks


def _embedded() -> Check:
    """Nothing is started to find out: this says whether `up` could."""
    try:
        account = Account.choose()
        found = binaries.locate(account)
    except AppError as error:
        return Check(name="embedded", ok=False, text=f"{error} {error.hint or ''}")
    text = f"Postgres {found.postgres_major} and Valkey, as the account {account.name!r}, not running"
    return Check(name="embedded", ok=True, text=text)


async def _database(settings: Settings) -> AsyncIterator[Check]:
    try:
        missing = await pending(settings)
        database = await open_database(settings)
    except AppError as error:
        yield Check(name="database", ok=False, text=str(error))
        return
    try:
        yield Check(name="database", ok=True, text=f"Postgres {database.version} ({MINIMUM_MAJOR} or newer is needed)")
        yield Check(
            name="migrations",
            ok=not missing,
            text=f"{len(missing)} missing: run `agentplat migrate`" if missing else "up to date",
        )
        skew = await _skew()
        yield Check(
            name="clock", ok=abs(skew) <= MOST_SKEW_SECONDS, text=f"{skew * 1000:+.0f} ms from the database's clock"
        )
    finally:
        await close_database()


async def _skew() -> float:
    """How far our clock is ahead, taking the middle of the round trip as the moment of the answer."""
    before = time.time()
    theirs = float(await db().fetchval("SELECT extract(epoch FROM clock_timestamp())"))
    return (before + time.time()) / 2 - theirs


async def _redis(url: str) -> Check:
    client = connect(url)
    try:
        found = await check_version(client)
    except AppError as error:
        return Check(name="redis", ok=False, text=str(error))
    finally:
        await client.aclose()
    return Check(name="redis", ok=True, text=f"{found} (Redis 7.0 or newer, or any Valkey, is needed)")
