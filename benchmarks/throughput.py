"""Sustained durable node executions per second, everything on this machine: API, worker, Postgres, Valkey, one socket.

Runs of 201 executions (a loop over 100 items, two nodes each) are started as fast as they finish, 16 at a time. Counted
are runs that were seen COMPLETED on the WebSocket. Baseline: 16 connections, each making every step durable by one
INSERT and one XADD.
"""

import asyncio
from time import perf_counter

import asyncpg
from redis.asyncio import Redis

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client, final_of
from benchmarks.graphs import fan_out
from benchmarks.platform import started
from benchmarks.report import Result, figure
from benchmarks.steps import TABLE, run_steps

ITEMS, DEPTH = 100, 2
EXECUTIONS = 1 + ITEMS * DEPTH
CONCURRENT = 16
ROUNDS = 5
ROUND_SECONDS = 6.0


def main() -> Result:
    with started() as (platform, token):
        ours = asyncio.run(_rounds(platform, token))
        baseline = asyncio.run(_baseline(platform))
    mine, theirs = figure("executions", "1/s", ours), figure("an INSERT and an XADD per step", "1/s", baseline)
    return Result(
        case="throughput",
        what=f"runs of {EXECUTIONS} executions, {CONCURRENT} at a time, services included",
        target=">= 5,000 executions/s",
        figures=[mine],
        baseline=theirs,
        ratio=mine.median / theirs.median,
    )


async def _rounds(platform: Platform, token: str) -> list[float]:
    async with Client(platform.url, token) as client:
        graph = await client.create(fan_out(ITEMS, DEPTH))
        socket = await client.watch(graph)
        under_way = [await client.start(graph) for _ in range(CONCURRENT)]
        rates = []
        for number in range(1 + ROUNDS):
            began, done = perf_counter(), 0
            while perf_counter() - began < ROUND_SECONDS:
                run_id, status = await final_of(socket)
                assert status == "COMPLETED"
                under_way.remove(run_id)
                done += 1
                under_way.append(await client.start(graph))
            if number:  # the first round warms up
                rates.append(done * EXECUTIONS / (perf_counter() - began))
        while under_way:
            under_way.remove((await final_of(socket))[0])
        await socket.close()
    return rates


async def _baseline(platform: Platform) -> list[float]:
    assert platform.settings.redis_url is not None
    redis = Redis.from_url(platform.settings.redis_url)
    connections = [await asyncpg.connect(platform.settings.database_url) for _ in range(CONCURRENT)]
    await connections[0].execute(TABLE)
    rates = []
    for _ in range(ROUNDS):
        began = perf_counter()
        await asyncio.gather(*(run_steps(one, redis, EXECUTIONS) for one in connections))
        rates.append(EXECUTIONS * CONCURRENT / (perf_counter() - began))
    for connection in connections:
        await connection.close()
    await redis.aclose()
    return rates
