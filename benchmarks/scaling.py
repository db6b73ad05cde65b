"""Whether big runs cost more than many small ones: cost per execution as runs and fan-outs grow, the worker's memory.

Baseline: the cost per execution of 1,000 runs of 10 executions each; the ratio compares one run of 10,000 with it. Cost
is time on the clock divided by executions, from the first POST to the last final event on the WebSocket, so it has all
that a run costs anybody on this machine: this client and its POST, the API, the worker, Postgres, Valkey.
"""

import asyncio
from time import perf_counter
from typing import Any

import psutil

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client, final_of
from benchmarks.graphs import chain, fan_out
from benchmarks.platform import started
from benchmarks.report import Figure, Result, figure

BIG_ITEMS = 3_333
SMALL, SMALL_RUNS, CONCURRENT = 10, 1_000, 32
ITEMS, BODY = (100, 1_000, 10_000), 3
ROUNDS = 3
MEMORY_RUNS, MEMORY_ITEMS = 33, 1_000


def main() -> Result:
    with started() as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    async with Client(platform.url, token) as client:
        await _cost(client, fan_out(100, BODY), 1 + 100 * BODY, 20)  # warms up
        big = figure(
            "one run of 10,000",
            "us/execution",
            [await _cost(client, fan_out(BIG_ITEMS, BODY), 1 + BIG_ITEMS * BODY, 1) for _ in range(ROUNDS)],
        )
        small = figure(
            f"{SMALL_RUNS:,} runs of {SMALL}",
            "us/execution",
            [await _cost(client, chain(SMALL), SMALL, SMALL_RUNS) for _ in range(ROUNDS)],
        )
        fans = [await _fan(client, items) for items in ITEMS]
        slope = await _memory_slope(platform, client)
    ratios = [
        figure(f"fan-out {items:,} to {ITEMS[0]}", "x", [fan / fans[0]]) for items, fan in zip(ITEMS, fans, strict=True)
    ]
    return Result(
        case="scaling",
        what="cost per durable execution as runs grow; a worker's memory over 100,000 executions",
        target="big / small <= 2, fan-outs near 1, memory flat",
        figures=[big, *ratios, slope],
        baseline=small,
        ratio=small.median / big.median,
    )


async def _fan(client: Client, items: int) -> float:
    """Microseconds per execution: the best of some, because a short run is easily disturbed."""
    runs = max(1, 1_000 // items)
    return min([await _cost(client, fan_out(items, BODY), 1 + items * BODY, runs) for _ in range(ROUNDS)])


async def _cost(
    client: Client, drawn: dict[str, Any], executions: int, runs: int, concurrent: int = CONCURRENT
) -> float:
    graph = await client.create(drawn)
    socket = await client.watch(graph)
    began = perf_counter()
    for _ in range(min(runs, concurrent)):
        await client.start(graph)
    for finished in range(1, runs + 1):
        assert (await final_of(socket))[1] == "COMPLETED"
        if finished + concurrent <= runs:
            await client.start(graph)
    took = perf_counter() - began
    await socket.close()
    return took / (executions * runs) * 1e6


async def _memory_slope(platform: Platform, client: Client) -> Figure:
    """Bytes per execution that the worker grew over 100,000, after as many that filled caches and pools."""
    pid = platform.child("worker").pid
    process = psutil.Process(pid)
    executions = 1 + MEMORY_ITEMS * BODY
    drawn = fan_out(MEMORY_ITEMS, BODY)
    await _cost(client, drawn, executions, MEMORY_RUNS, concurrent=1)
    before = process.memory_info().rss
    await _cost(client, drawn, executions, MEMORY_RUNS, concurrent=1)
    grown = (process.memory_info().rss - before) / (executions * MEMORY_RUNS)
    return figure("worker's memory", "bytes/execution", [grown])
