"""From `POST …/stop` to its answer with TERMINATED, of runs that a live worker has: one that sleeps in a node, one that
sleeps in many, one that is busy.

Baseline: the least that stopping a run elsewhere takes. An UPDATE, a PUBLISH to who has the run, and its XADD that says
that it has ended, as read from the stream.
"""

import asyncio
from statistics import quantiles
from time import perf_counter
from typing import Any
from uuid import uuid4

import asyncpg
from redis.asyncio import Redis

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import sleeping, ticking
from benchmarks.platform import started
from benchmarks.report import Figure, Result, figure
from benchmarks.steps import TABLE

STOPS = 200
# Under way at once: a worker has others to look after as well. Below the limit of one user and graph.
AT_ONCE = 20
MANY = 50
STARTED = """
    SELECT COALESCE(sum(regexp_count(convert_from(body, 'UTF8'), '"started"')), 0)::int FROM journal
    WHERE run_id = ANY($1::text[])
"""
CHANNEL, STREAM = "benchmark:stop", "benchmark:stopped"
NO_MORE = b""


def main() -> Result:
    with started() as (platform, token):
        ours = asyncio.run(_stops(platform, token))
        theirs = figure("UPDATE, PUBLISH, XADD, XREAD", "ms", asyncio.run(_baseline(platform)))
    figures = [one for name, times in ours.items() for one in _spread(name, times)]
    return Result(
        case="stop",
        what=f"{STOPS} stops each of runs that a live worker has, {AT_ONCE} under way, request to answer",
        target="p99 < 200 ms",
        figures=figures,
        baseline=theirs,
        ratio=theirs.median / figures[0].median,
    )


def _spread(name: str, times: list[float]) -> list[Figure]:
    return [figure(f"{name}, p50", "ms", times), figure(f"{name}, p99", "ms", [quantiles(times, n=100)[98]])]


async def _stops(platform: Platform, token: str) -> dict[str, list[float]]:
    graphs = {
        "asleep in a node": (sleeping(1), 1),
        f"asleep in {MANY} nodes": (sleeping(MANY), MANY),
        "busy": (ticking(), 1),
    }
    connection = await asyncpg.connect(platform.settings.database_url)
    times: dict[str, list[float]] = {}
    async with Client(platform.url, token) as client:
        for name, (drawn, starts) in graphs.items():
            graph = await client.create(drawn)
            times[name] = []
            while len(times[name]) < STOPS:
                times[name] += await _round(client, connection, graph, starts)
    await connection.close()
    return times


async def _round(client: Client, connection: Any, graph: dict[str, Any], starts: int) -> list[float]:
    runs = await asyncio.gather(*(client.start(graph) for _ in range(AT_ONCE)))
    # Each has recorded the starts of all its nodes that sleep.
    while await connection.fetchval(STARTED, runs) < len(runs) * starts:  # noqa: ASYNC110 - only the database tells
        await asyncio.sleep(0.05)
    times = []
    for run_id in runs:
        began = perf_counter()
        status = await client.stop(graph, run_id)
        times.append((perf_counter() - began) * 1000)
        assert status == "TERMINATED", status
    return times


async def _baseline(platform: Platform) -> list[float]:
    assert platform.settings.redis_url is not None
    connection = await asyncpg.connect(platform.settings.database_url)
    redis = Redis.from_url(platform.settings.redis_url)
    await connection.execute(TABLE)
    subscribed = asyncio.Event()
    answering = asyncio.create_task(_answer(platform.settings.redis_url, subscribed))
    await subscribed.wait()
    times, last = [], "0"
    for _ in range(STOPS):
        run_id = str(uuid4())
        await connection.execute("INSERT INTO benchmark_steps VALUES ($1, 0, '')", run_id)
        began = perf_counter()
        await connection.execute("UPDATE benchmark_steps SET body = 'stop' WHERE run_id = $1", run_id)
        await redis.publish(CHANNEL, run_id)
        found: Any = await redis.xread({STREAM: last}, block=1000)
        times.append((perf_counter() - began) * 1000)
        last = found[0][1][-1][0]
    # Told and not cancelled: it may just be getting the answer to its XADD, and redis-py loses a cancellation then.
    await redis.publish(CHANNEL, NO_MORE)
    await answering
    await connection.close()
    await redis.aclose()
    return times


async def _answer(url: str, subscribed: asyncio.Event) -> None:
    redis = Redis.from_url(url)
    async with redis.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        async for message in subscription.listen():
            subscribed.set()
            if message["data"] == NO_MORE:
                break
            if message["type"] == "message":
                await redis.xadd(STREAM, {"run": message["data"]}, maxlen=1000)
    await redis.aclose()
