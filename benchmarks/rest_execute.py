"""POST …/execute until its 200, which means that the run is durable, while a worker executes the runs.

Baseline: as many connections, each making a step durable by one INSERT and one XADD, without HTTP or anything else.
"""

import asyncio
from time import perf_counter

import asyncpg
from redis.asyncio import Redis

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import chain
from benchmarks.platform import started
from benchmarks.report import Result, figure
from benchmarks.rest.comparing import ROUNDS, UNLIMITED, load, request
from benchmarks.rest.load import Outcome, Spec
from benchmarks.steps import TABLE, run_steps

CONNECTIONS = 32
STEADY_RATE = 200
STEPS = 200
COUNTS = "SELECT count(*), count(*) FILTER (WHERE status = 'COMPLETED') FROM runs"
# As many runs as come in these seconds wait for their turn.
ENVIRONMENT = {**UNLIMITED, "AGENTPLAT_MAX_QUEUED_PER_USER": "10000000"}


def main() -> Result:
    with started(env=ENVIRONMENT) as (platform, token):
        steady, _ = asyncio.run(_rounds(platform, token, STEADY_RATE))
        flat_out, executed = asyncio.run(_rounds(platform, token, 0))
        baseline = figure("an INSERT and an XADD each", "1/s", asyncio.run(_baseline(platform)))
    ours = figure("runs accepted", "1/s", [one.per_second for one in flat_out])
    return Result(
        case="rest_execute",
        what=f"POST execute to 200, {CONNECTIONS} connections, a worker at work",
        target=">= 1,000/s; p99 < 100 ms at 200/s",
        figures=[
            ours,
            figure("of them executed by the last 200", "%", executed),
            figure("p99, flat out", "ms", [one.p99 for one in flat_out]),
            figure(f"p50 at {STEADY_RATE}/s", "ms", [one.p50 for one in steady]),
            figure(f"p99 at {STEADY_RATE}/s", "ms", [one.p99 for one in steady]),
        ],
        baseline=baseline,
        ratio=ours.median / baseline.median,
    )


async def _rounds(platform: Platform, token: str, rate: float) -> tuple[list[Outcome], list[float]]:
    """And the percentage of runs that were accepted in each round and final at its end: what the worker is behind by is
    work that the figures don't contain."""
    async with Client(platform.url, token) as client:
        graph = await client.create(chain(1))
    text = request("POST", f"/api/graphs/{graph['id']}/execute/{graph['version']}", token, b"{}")
    spec = Spec(port=platform.settings.port, request=text, connections=CONNECTIONS, rate=rate)
    outcomes, executed = [], []
    database = await asyncpg.connect(platform.settings.database_url)
    accepted, final = await database.fetchrow(COUNTS)
    for _ in range(ROUNDS):
        outcomes.append(await load(spec))
        before = accepted, final
        accepted, final = await database.fetchrow(COUNTS)
        executed.append(100 * (final - before[1]) / (accepted - before[0]))
    await database.close()
    return outcomes, executed


async def _baseline(platform: Platform) -> list[float]:
    assert platform.settings.redis_url is not None
    redis = Redis.from_url(platform.settings.redis_url)
    connections = [await asyncpg.connect(platform.settings.database_url) for _ in range(CONNECTIONS)]
    await connections[0].execute(TABLE)
    rates = []
    for _ in range(ROUNDS):
        began = perf_counter()
        await asyncio.gather(*(run_steps(one, redis, STEPS) for one in connections))
        rates.append(STEPS * CONNECTIONS / (perf_counter() - began))
    for connection in connections:
        await connection.close()
    await redis.aclose()
    return rates
