"""One run of 40 trivial nodes in a row, from the POST to its final event on the WebSocket, everything durable.

Baseline: 40 steps, each one INSERT and one XADD, without HTTP, queue or WebSocket.
"""

import asyncio
from time import perf_counter

import asyncpg
from redis.asyncio import Redis

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client, final_of
from benchmarks.graphs import chain
from benchmarks.platform import started
from benchmarks.report import Result, figure
from benchmarks.steps import TABLE, run_steps

NODES = 40
RUNS = 200
WARM_UP = 20


def main() -> Result:
    with started() as (platform, token):
        ours = asyncio.run(_runs(platform, token))
        baseline = asyncio.run(_steps(platform))
    ours.sort()
    mine = figure("p50", "ms", ours)
    tail = figure("p95", "ms", [ours[int(len(ours) * 0.95)]])
    theirs = figure("an INSERT and an XADD per step", "ms", baseline)
    return Result(
        case="run_latency",
        what=f"chain of {NODES} nodes, POST to final event on the WebSocket",
        target="p50 <= 40 ms",
        figures=[mine, tail],
        baseline=theirs,
        ratio=theirs.median / mine.median,
    )


async def _runs(platform: Platform, token: str) -> list[float]:
    async with Client(platform.url, token) as client:
        graph = await client.create(chain(NODES))
        socket = await client.watch(graph)
        times = []
        for number in range(WARM_UP + RUNS):
            began = perf_counter()
            run_id = await client.start(graph)
            assert await final_of(socket) == (run_id, "COMPLETED")
            if number >= WARM_UP:
                times.append((perf_counter() - began) * 1000)
        await socket.close()
    return times


async def _steps(platform: Platform) -> list[float]:
    assert platform.settings.redis_url is not None
    connection = await asyncpg.connect(platform.settings.database_url)
    redis = Redis.from_url(platform.settings.redis_url)
    await connection.execute(TABLE)
    times = []
    for _ in range(RUNS // 4):
        began = perf_counter()
        await run_steps(connection, redis, NODES)
        times.append((perf_counter() - began) * 1000)
    await connection.close()
    await redis.aclose()
    return times
