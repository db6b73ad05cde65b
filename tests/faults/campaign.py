"""One kind of fault, again and again under load; then everything is left to recover, and looked at."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from agentplat.accounts import service as accounts
from agentplat.cli.supervisor import Platform, free_port
from agentplat.infra.db import close_database, db, open_database
from agentplat.infra.errors import Unavailable
from agentplat.infra.settings import Settings
from tests.faults.graphs import shapes
from tests.faults.injection import Fault, Target
from tests.faults.invariants import find_violations, lines_of
from tests.faults.load import Load
from tests.support.processes import environment

WORKERS = 3
LEASE_SECONDS = 2
# Within this time after the last fault all runs must be final.
RECOVERY_SECONDS = 120.0
ASK_SECONDS = 0.5


class Report(Struct, frozen=True):
    fault: str
    seconds: float
    injected: int
    runs: int
    recoveries: int
    recovery_seconds: float
    violations: list[str]


@contextmanager
def started(settings: Settings, home: Path) -> Iterator[Platform]:
    """A platform with servers of its own, which may be broken."""
    own = msgspec.structs.replace(
        settings, home=home, port=free_port(), database_url=None, redis_url=None, lease_seconds=LEASE_SECONDS
    )
    variables = environment(
        AGENTPLAT_LEASE=str(LEASE_SECONDS), AGENTPLAT_BLOCK_MODULES="tests.support.blocks", LOG_LEVEL="INFO"
    )
    with Platform(own, workers=WORKERS, quiet=True, env=variables) as platform:
        yield platform


async def campaign(
    platform: Platform, fault: Fault, seconds: float, seed: int, *, rate: float = 8.0, pause: float = 3.0
) -> Report:
    chance = random.Random(seed)
    effects = platform.settings.home / f"effects-{fault.name.replace(' ', '-')}"
    settings = platform.settings
    token = accounts.issue_token("faults", "faults@example.com", ttl=timedelta(days=1))
    async with _opened(settings):
        # Each campaign is judged by its own runs. Those of the last one are final.
        await db().execute("TRUNCATE journal, runs CASCADE")
    async with Load(platform.url, token, shapes(effects), rate, chance) as load:
        loading = asyncio.create_task(load.run())
        injected = await _inject(fault, Target(platform, chance, pause), seconds)
        load.end()
        recovering = monotonic()
        async with asyncio.timeout(RECOVERY_SECONDS):
            await loading
    async with _opened(settings) as redis:
        await _all_final(recovering + RECOVERY_SECONDS)
        recovered = monotonic() - recovering
        runs, recoveries = await db().fetchrow("SELECT count(*), COALESCE(sum(greatest(fence - 1, 0)), 0) FROM runs")
        return Report(
            fault=fault.name,
            seconds=seconds,
            injected=injected,
            runs=runs,
            recoveries=recoveries,
            recovery_seconds=recovered,
            violations=await find_violations(load.accepted, lines_of(effects), redis),
        )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Redis]:
    """Database and Redis of the platform. Only while nothing is broken: the last fault may need a moment to heal."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                await open_database(settings)
                break
            except Unavailable:
                await asyncio.sleep(ASK_SECONDS)
    redis: Redis = Redis.from_url(str(settings.redis_url))
    try:
        yield redis
    finally:
        await redis.aclose()
        await close_database()


async def _inject(fault: Fault, target: Target, seconds: float) -> int:
    injected = 0
    until = monotonic() + seconds
    await asyncio.sleep(target.chance.uniform(0.5, 1.0))
    while monotonic() < until:
        injected += await fault.inject(target)
        await asyncio.sleep(min(target.chance.uniform(*fault.gap), max(0.0, until - monotonic())))
    return injected


async def _all_final(until: float) -> None:
    """Returns as well when the time is over: the runs that are not final are then found as violations."""
    while monotonic() < until:
        if not await db().fetchval(
            "SELECT count(*) FROM runs WHERE status NOT IN ('COMPLETED', 'FAILED', 'TERMINATED')"
        ):
            return
        await asyncio.sleep(ASK_SECONDS)


def table(reports: list[Report]) -> str:
    lines = [
        "| fault | seconds | injected | runs | recoveries | all final after | violations |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {report.fault} | {report.seconds:.0f} | {report.injected} | {report.runs} | {report.recoveries} "
        f"| {report.recovery_seconds:.1f} s | {len(report.violations)} |"
        for report in reports
    ]
    return "\n".join(lines)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
