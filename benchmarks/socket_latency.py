"""From the commit of an event to its clients: 1,000 sockets, 50 runs of 10 graphs, 20 events a second; and at low load.

The mix: most watch one run with its nodes, some all runs of a graph, a few all of the user's: some 28,000 messages a
second in all. The moment of each
commit is known, because the benchmark records the runs itself, by the platform's own journal writer.
"""

import asyncio
from bisect import bisect_left
from time import perf_counter
from typing import Any

import msgspec

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import endless
from benchmarks.platform import started
from benchmarks.report import Figure, Result, figure
from benchmarks.sockets.client import Group, Seen, Spec
from benchmarks.sockets.crowd import allow_files, crowd
from benchmarks.sockets.feeder import FedRun, Feeder, feeding
from benchmarks.sockets.process import OURS, Served, served

GRAPHS, RUNS, WATCHERS = 10, 50, 19
GRAPH_WATCHERS, USER_WATCHERS = 40, 10
SOCKETS = RUNS * WATCHERS + GRAPH_WATCHERS + USER_WATCHERS
EVENTS_PER_SECOND = 20.0
EVENTS_PER_STEP = 6
ROUNDS, ROUND_SECONDS = 5, 6.0
QUIET_SECONDS = 1.0


def main() -> Result:
    allow_files()
    with started(workers=0) as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    async with Client(platform.url, token) as client, feeding(platform.settings) as feeder:
        graphs = [await client.create(endless()) for _ in range(GRAPHS)]
        async with served(platform, *OURS) as ours:
            full = [await measured(feeder, graphs, ours, token, RUNS, WATCHERS, mixed=True) for _ in range(ROUNDS)]
            low = [await measured(feeder, graphs, ours, token, 1, 1, mixed=False) for _ in range(ROUNDS)]
    p50, low_p50 = percentile("p50", full, 0.5), percentile("one run, one socket: p50", low, 0.5)
    return Result(
        case="socket_latency",
        what=f"commit to client, {SOCKETS} sockets, {RUNS} runs",
        target="p50 <= 5 ms, p99 <= 50 ms; at low load p50 <= 3 ms",
        figures=[p50, percentile("p99", full, 0.99)],
        baseline=low_p50,
        ratio=low_p50.median / p50.median,
    )


def percentile(name: str, rounds: list[list[float]], at: float) -> Figure:
    return figure(name, "ms", [sorted(one)[int(len(one) * at)] * 1000 for one in rounds])


async def measured(
    feeder: Feeder,
    graphs: list[dict[str, Any]],
    ours: Served,
    token: str,
    runs: int,
    watchers: int,
    *,
    mixed: bool,
    stalled: int = 0,
) -> list[float]:
    """Seconds from commit to client, of every event that a watcher of a single run got."""
    fed = [await feeder.run("bench", graphs[number % len(graphs)]) for number in range(runs)]
    groups = [
        Group(count=watchers, timed=True, requests=[_request("subscribe_graph_execution", graph_exec_id=run.row.id)])
        for run in fed
    ]
    if mixed:
        groups += [
            Group(
                count=GRAPH_WATCHERS // len(graphs),
                requests=[_request("subscribe_graph_executions", graph_id=graph["id"])],
            )
            for graph in graphs
        ]
        groups.append(Group(count=USER_WATCHERS, requests=[_request("subscribe_user")]))
    if stalled:
        requests = [_request("subscribe_graph_execution", graph_exec_id=run.row.id) for run in fed]
        groups.append(Group(count=stalled, stalled=True, requests=requests))
    async with crowd(Spec(url=f"{ours.socket}?token={token}", groups=groups)) as clients:
        await asyncio.sleep(QUIET_SECONDS)
        await asyncio.gather(*(_pace(feeder, run, number / runs) for number, run in enumerate(fed)))
        seen = await clients.seen(QUIET_SECONDS)
    return _delays(feeder, fed, seen)


def _request(method: str, **data: str) -> str:
    return msgspec.json.encode({"method": method, "data": {**data, "seq": True}}).decode()


async def _pace(feeder: Feeder, run: FedRun, offset: float) -> None:
    """One node execution at a time, each of which makes some events. `offset`: so that not all happens at once."""
    step = EVENTS_PER_STEP / EVENTS_PER_SECOND
    at = perf_counter() + offset * step
    until = perf_counter() + ROUND_SECONDS
    while at < until:
        await asyncio.sleep(max(0.0, at - perf_counter()))
        await feeder.feed([(run, run.step())])
        at += step


def _delays(feeder: Feeder, fed: list[FedRun], seen: Seen) -> list[float]:
    """An event's row is the first one that goes as far as its number."""
    return [
        at - feeder.committed[run.row.id][bisect_left(run.numbers, number)]
        for group, number, at in seen.times
        for run in (fed[group],)
    ]
