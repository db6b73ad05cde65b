"""From `kill -9` of the only worker to the next committed node start of each of its runs, with the default lease.

Baseline: the lease, before the end of which nobody may touch the runs of a worker that may be alive.
"""

import asyncio
import os
import signal
from time import perf_counter

import asyncpg

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import ticking
from benchmarks.platform import started
from benchmarks.report import Result, figure

RUNS = 10
ROUNDS = 5
# So that the worker is killed at different moments between two heartbeats.
BETWEEN_SECONDS = 4.3
ASK_SECONDS = 0.01


def main() -> Result:
    with started() as (platform, token):
        lease = platform.settings.lease_seconds
        times = asyncio.run(_rounds(platform, token))
    mine, theirs = figure("kill to next node start", "s", times), figure("lease", "s", [lease])
    return Result(
        case="recovery",
        what=f"kill -9 of a worker with {RUNS} runs",
        target=f"greatest <= {lease + 1:.0f} s",
        figures=[mine],
        baseline=theirs,
        ratio=theirs.median / mine.greatest,
    )


async def _rounds(platform: Platform, token: str) -> list[float]:
    times: list[float] = []
    connection = await asyncpg.connect(platform.settings.database_url)
    async with Client(platform.url, token) as client:
        graph = await client.create(ticking())
        for _ in range(ROUNDS):
            runs = [await client.start(graph) for _ in range(RUNS)]
            await asyncio.sleep(BETWEEN_SECONDS)
            times += await _round(platform, connection, runs)
            for run_id in runs:
                await client.stop(graph, run_id)
    await connection.close()
    return times


async def _round(platform: Platform, connection: "asyncpg.Connection[asyncpg.Record]", runs: list[str]) -> list[float]:
    assert set(await _lengths(connection, runs)) == set(runs)  # all have begun
    pid = platform.child("worker").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    began = perf_counter()
    await asyncio.sleep(0.1)  # what it had sent is committed by now
    before = await _lengths(connection, runs)
    times: dict[str, float] = {}
    while len(times) < RUNS:
        await asyncio.sleep(ASK_SECONDS)
        for run_id, length in (await _lengths(connection, runs)).items():
            if length > before[run_id]:
                times.setdefault(run_id, perf_counter() - began)
    return list(times.values())


async def _lengths(connection: "asyncpg.Connection[asyncpg.Record]", runs: list[str]) -> dict[str, int]:
    rows = await connection.fetch(
        "SELECT run_id, max(seq) AS seq FROM journal WHERE run_id = ANY($1::text[]) GROUP BY run_id", runs
    )
    return {row["run_id"]: row["seq"] for row in rows}
