"""One socket that subscribes to everything and never reads, among 1,000: what the others notice of it.

Baseline: the same without it.
"""

import asyncio

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import endless
from benchmarks.platform import started
from benchmarks.report import Result
from benchmarks.socket_latency import ROUNDS, RUNS, measured, percentile
from benchmarks.sockets.crowd import allow_files
from benchmarks.sockets.feeder import feeding
from benchmarks.sockets.process import OURS, served

WATCHERS = 20


def main() -> Result:
    allow_files()
    with started(workers=0) as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    without: list[list[float]] = []
    with_it: list[list[float]] = []
    async with Client(platform.url, token) as client, feeding(platform.settings) as feeder:
        graphs = [await client.create(endless())]
        async with served(platform, *OURS) as ours:
            # By turns, so that whatever else the machine does troubles both alike.
            for _ in range(ROUNDS):
                without.append(await measured(feeder, graphs, ours, token, RUNS, WATCHERS, mixed=False))
                with_it.append(await measured(feeder, graphs, ours, token, RUNS, WATCHERS, mixed=False, stalled=1))
    mine, baseline = percentile("p99 of the others", with_it, 0.99), percentile("p99 without it", without, 0.99)
    return Result(
        case="socket_stalled",
        what=f"commit to client, {RUNS * WATCHERS} sockets, one more that never reads",
        target="the same p99 with and without it",
        figures=[mine, percentile("p50 of the others", with_it, 0.5)],
        baseline=baseline,
        ratio=baseline.median / mine.median,
    )
