"""Whether big runs cost more than many small ones: cost per execution as runs and fan-outs grow, the worker's memory.

Baseline: 1,000 runs of 10 executions each; the ratio compares one run of 10,000 with it. Cost is time on the clock per
execution, from the first claim until all are stored as final, of runs that were accepted while the worker was stopped.
That is later than the end that a run itself names, which is before its results are encoded and committed: almost half
of the cost of a big one. *In* is all that happens to a run that waits: claims, machine, journal, results, Postgres, the
events in Valkey. *Out* are sockets, and its acceptance, whose cost per run is printed besides (this client, HTTP, the
API's checks, Postgres).

For the other figures the clock runs from the first POST to the last final event on a WebSocket, and has everything.
"""

import asyncio
import os
import signal
from time import perf_counter, time
from typing import Any

import asyncpg
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
POLL_SECONDS = 0.01
# Nothing else is going on, and each half looks into an index of only such runs.
UNDER_WAY = (
    "SELECT EXISTS (SELECT FROM runs WHERE status = 'QUEUED') OR EXISTS (SELECT FROM runs WHERE status = 'RUNNING')"
)
BEGAN = "SELECT count(*), min(started_at) FROM runs WHERE graph_id = $1 AND status = 'COMPLETED'"


def main() -> Result:
    with started() as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    async with Client(platform.url, token) as client:
        await _cost(client, fan_out(100, BODY), 1 + 100 * BODY, 20)  # warms up
        await _cost(client, chain(SMALL), SMALL, 100)
        bigs = [await _apart(platform, client, fan_out(BIG_ITEMS, BODY), 1) for _ in range(ROUNDS)]
        smalls = [await _apart(platform, client, chain(SMALL), SMALL_RUNS) for _ in range(ROUNDS)]
        big = figure("one run of 10,000", "us/execution", [one[1] / (1 + BIG_ITEMS * BODY) for one in bigs])
        small = figure(f"{SMALL_RUNS:,} runs of {SMALL}", "us/execution", [one[1] / SMALL for one in smalls])
        accepting = figure("acceptance of a small run", "us/run", [one[0] for one in smalls])
        fans = [await _fan(client, items) for items in ITEMS]
        slope = await _memory_slope(platform, client)
    ratios = [
        figure(f"fan-out {items:,} to {ITEMS[0]}", "x", [fan / fans[0]]) for items, fan in zip(ITEMS, fans, strict=True)
    ]
    return Result(
        case="scaling",
        what="cost per durable execution as runs grow; a worker's memory over 100,000 executions",
        target="big / small <= 2, fan-outs near 1, memory flat",
        figures=[big, accepting, *ratios, slope],
        baseline=small,
        ratio=small.median / big.median,
    )


async def _apart(platform: Platform, client: Client, drawn: dict[str, Any], runs: int) -> tuple[float, float]:
    """Microseconds per run until it was accepted, and from the first claim until the last was final."""
    graph = await client.create(drawn)
    worker = platform.child("worker").pid
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    try:
        began = perf_counter()
        for _ in range(runs // CONCURRENT):
            await asyncio.gather(*(client.start(graph) for _ in range(CONCURRENT)))
        await asyncio.gather(*(client.start(graph) for _ in range(runs % CONCURRENT)))
        accepted = perf_counter() - began
    finally:
        os.kill(worker, signal.SIGCONT)
    connection = await asyncpg.connect(platform.settings.database_url)
    while await connection.fetchval(UNDER_WAY):  # noqa: ASYNC110 - only the database tells
        await asyncio.sleep(POLL_SECONDS)
    over = time()
    ended, first_claim = await connection.fetchrow(BEGAN, graph["id"])
    await connection.close()
    assert ended == runs
    return accepted / runs * 1e6, (over - first_claim.timestamp()) / runs * 1e6


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
