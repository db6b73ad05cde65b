"""One kind of fault, again and again under load; then everything is left to recover, and looked at."""

import asyncio
import math
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from uuid import uuid4

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.cli.supervisor import Platform
from agentplat.credits.models import TransactionType
from agentplat.credits.queries import ledger as credits
from agentplat.infra.db import close_database, db, open_database
from agentplat.infra.errors import Unavailable
from agentplat.infra.settings import Settings
from tests.faults.clients import Clients
from tests.faults.counting import Call, counting
from tests.faults.graphs import PURSE, shapes
from tests.faults.injection import Fault, Target
from tests.faults.invariants import of_acceptance, of_blobs, of_calls, of_run
from tests.faults.leftovers import leftovers
from tests.faults.load import Load
from tests.faults.record import Record, read_records
from tests.faults.relations import of_families, of_payments, of_reviews, read_payments, read_reviews, starts_paid
from tests.faults.reviewers import Reviewers
from tests.support.ledger import unsound_accounts
from tests.support.processes import environment, free_port
from tests.support.services import BLOCK_MODULES

WORKERS = 3
LEASE_SECONDS = 2
# Within this time after the last fault all runs must be final, but those that wait for a person; and within this time
# after these were answered, they as well.
RECOVERY_SECONDS = 120.0
ASK_SECONDS = 0.5
# More than any load can spend.
PLENTY = 1_000_000_000


class Report(Struct, frozen=True):
    """`recoveries` are counted of runs that never wait for others: those change hands without any fault as well."""

    fault: str
    seconds: float
    injected: int
    runs: int
    charges: int
    reviews: int
    recoveries: int
    recovery_seconds: float
    versions: str
    violations: list[str]


@contextmanager
def started(settings: Settings, home: Path) -> Iterator[Platform]:
    """A platform with servers of its own, which may be broken."""
    own = msgspec.structs.replace(
        settings, home=home, port=free_port(), database_url=None, redis_url=None, lease_seconds=LEASE_SECONDS
    )
    variables = environment(
        AGENTPLAT_LEASE=str(LEASE_SECONDS),
        AGENTPLAT_BLOCK_MODULES=BLOCK_MODULES,
        ENABLE_CREDIT="true",
        LOG_LEVEL="INFO",
    )
    with Platform(own, workers=WORKERS, quiet=True, env=variables) as platform:
        yield platform


async def campaign(
    platform: Platform, fault: Fault, seconds: float, seed: int, *, rate: float = 8.0, pause: float = 3.0
) -> Report:
    chance = random.Random(seed)
    settings = platform.settings
    async with opened(settings):
        # Each campaign is judged by its own runs. Those of the last one are final.
        await db().execute("TRUNCATE journal, runs, credit_transactions, balances CASCADE")
        rich = await account(PLENTY)
        poor = [await account(PURSE) for _ in range(math.ceil(seconds * rate / 10))]
    with counting() as service:
        async with (
            Clients(platform.url) as clients,
            Reviewers(clients, rich, chance) as reviewers,
            Load(clients, rich, poor, shapes(service.url), rate, chance) as load,
        ):
            loading = asyncio.create_task(load.run())
            injected = await _inject(fault, Target(platform, chance, pause), seconds)
            load.end()
            recovering = monotonic()
            async with asyncio.timeout(RECOVERY_SECONDS):
                await loading
            async with opened(settings) as redis:
                unsettled = await _settled(recovering + RECOVERY_SECONDS)
                recovered = monotonic() - recovering
                reviewers.answer_rest()
                await _all_final(monotonic() + RECOVERY_SECONDS)
                records = await read_records()
                violations = unsettled + await _violations(records, load, reviewers, service.calls())
                violations += await leftovers(redis)
                return Report(
                    fault=fault.name,
                    seconds=seconds,
                    injected=injected,
                    runs=len(records),
                    charges=starts_paid(await read_payments()),
                    reviews=len({one.key for one in reviewers.decided}),
                    recoveries=sum(max(0, one.row.fence - 1) for one in records.values() if not one.waits()),
                    recovery_seconds=recovered,
                    versions=await _versions(redis),
                    violations=violations,
                )


async def account(credit: int) -> str:
    """The token of somebody who has so many credits."""
    user = User(id=f"faults-{uuid4()}", email="faults@example.com")
    await accounts.ensure_user(user)
    await credits.add(user.id, credit, "gift", TransactionType.GRANT, b"{}")
    return accounts.issue_token(user.id, user.email, ttl=timedelta(days=1))


async def _versions(redis: Redis) -> str:
    postgres = str(await db().fetchval("SHOW server_version")).split()[0]
    return f"Postgres {postgres}, Valkey {(await redis.info('server'))['valkey_version']}"


async def _violations(records: dict[str, Record], load: Load, reviewers: Reviewers, calls: list[Call]) -> list[str]:
    by_key: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_key[call.key].append(call)
    known = {run.id: run for run in load.accepted}
    found = of_acceptance(load.accepted, records)
    for run_id, record in records.items():
        problems = of_run(record, known.get(run_id)) + of_calls(record, by_key) + of_blobs(record)
        found += [f"{run_id}: {problem}" for problem in problems]
    found += [f"an effect of nobody: {key}" for key in by_key]
    found += of_families(records)
    found += of_reviews(records, await read_reviews(), reviewers.decided)
    found += of_payments(records, await read_payments())
    return found + [f"an account is not what its ledger says: {line}" for line in await unsound_accounts(db())]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Redis]:
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


async def _settled(until: float) -> list[str]:
    """Returns when every run is final or, being part of a tree in which somebody is asked something, held by no worker.
    What is not so in time is returned."""
    while True:
        rows = await db().fetch(
            """
            SELECT id, status, lease_owner FROM runs
            WHERE status NOT IN ('COMPLETED', 'FAILED', 'TERMINATED') AND NOT (lease_until IS NULL
                AND status IN ('RUNNING', 'REVIEW') AND root_id IN (
                    SELECT r.root_id FROM runs r JOIN reviews ON r.id = run_id WHERE reviews.status = 'WAITING'))
            """
        )
        if not rows:
            return []
        if monotonic() > until:
            return [f"{row['id']}: neither goes on nor waits for a person: {dict(row)}" for row in rows]
        await asyncio.sleep(ASK_SECONDS)


async def _all_final(until: float) -> None:
    """Returns as well when the time is over: the runs that are not final are then found as violations."""
    while monotonic() < until:
        if not await db().fetchval(
            "SELECT count(*) FROM runs WHERE status NOT IN ('COMPLETED', 'FAILED', 'TERMINATED')"
        ):
            return
        await asyncio.sleep(ASK_SECONDS)


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
