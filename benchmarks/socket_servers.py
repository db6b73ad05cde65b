"""From the commit of an event to its clients, by the process for sockets (uvicorn) and by the API server (granian).

Both get the same events at the same pace, by turns, with the mix of sockets of `socket_latency`. How much each can
deliver at most says `socket_fanout`; this says how late events come while neither is at its limit. Baseline: granian.
"""

import asyncio

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import endless
from benchmarks.platform import started
from benchmarks.report import Result
from benchmarks.socket_latency import GRAPHS, ROUNDS, RUNS, SOCKETS, WATCHERS, measured, percentile
from benchmarks.sockets.crowd import allow_files
from benchmarks.sockets.feeder import feeding
from benchmarks.sockets.process import API_SERVER, OURS, served


def main() -> Result:
    allow_files()
    with started(workers=0) as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    uvicorn: list[list[float]] = []
    granian: list[list[float]] = []
    async with Client(platform.url, token) as client, feeding(platform.settings) as feeder:
        graphs = [await client.create(endless()) for _ in range(GRAPHS)]
        for _ in range(ROUNDS):
            # One after the other, so that what one of them does takes nothing from the other.
            for command, rounds in ((OURS, uvicorn), (API_SERVER, granian)):
                async with served(platform, *command) as server:
                    rounds.append(await measured(feeder, graphs, server, token, RUNS, WATCHERS, mixed=True))
    mine, baseline = percentile("uvicorn: p99", uvicorn, 0.99), percentile("granian: p99", granian, 0.99)
    return Result(
        case="socket_servers",
        what=f"commit to client at one pace, {SOCKETS} sockets, {RUNS} runs",
        target="no later than under granian",
        figures=[mine, percentile("uvicorn: p50", uvicorn, 0.5), percentile("granian: p50", granian, 0.5)],
        baseline=baseline,
        ratio=baseline.median / mine.median,
    )
