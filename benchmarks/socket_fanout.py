"""Events delivered per second by one process to 200 sockets that all watch the same run.

A fixed number of events is recorded at once, by the platform's own journal writer; counted is the time from the first
to the last that a client gets. Beside it the same number of messages of the same size, by the common ways to fan out:
Litestar's channels plugin with its Redis backends, and a Redis subscription per socket.
"""

import asyncio

import msgspec
from redis.asyncio import Redis

from agentplat.cli.supervisor import Platform
from benchmarks.client import Client
from benchmarks.graphs import endless
from benchmarks.platform import started
from benchmarks.report import Figure, Result, figure
from benchmarks.sockets.client import Group, Seen, Spec
from benchmarks.sockets.crowd import allow_files, crowd
from benchmarks.sockets.feeder import Feeder, feeding
from benchmarks.sockets.process import API_SERVER, OURS, Served, served
from benchmarks.sockets.stock import CHANNEL, backend

SOCKETS = 200
EXECUTIONS, PER_ROW = 300, 10
ROUNDS = 5
QUIET_SECONDS = 1.0
WAYS = {
    "channels plugin, pub/sub backend": "pubsub",
    "channels plugin, streams backend": "streams",
    "a subscription per socket": "loop",
}


def main() -> Result:
    allow_files()
    with started(workers=0) as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    async with Client(platform.url, token) as client, feeding(platform.settings) as feeder:
        graph = await client.create(endless())
        figures = []
        async with served(platform, *OURS) as ours:
            one = [await _round(feeder, graph, ours, token, batch=False) for _ in range(ROUNDS)]
            figures.append(_rate("one event per frame", one))
            batched = [await _round(feeder, graph, ours, token, batch=True) for _ in range(ROUNDS)]
            figures.append(_rate("batch: true", batched))
        async with served(platform, *API_SERVER) as granian:
            rounds = [await _round(feeder, graph, granian, token, batch=False) for _ in range(ROUNDS)]
            figures.append(_rate("one event per frame, API server", rounds))
    events, size = one[0].events // SOCKETS, one[0].size
    for name, way in WAYS.items():
        async with served(platform, "benchmarks.sockets.stock", "--way", way) as stock:
            rounds = [await _relay(platform, stock, way, events, size) for _ in range(ROUNDS)]
            figures.append(_rate(name, rounds))
    *mine, baseline = figures
    return Result(
        case="socket_fanout",
        what=f"one process, {SOCKETS} sockets, {events} events of {size} bytes",
        target=">= 60,000 delivered events/s, with batch >= 400,000",
        figures=mine,
        baseline=baseline,
        ratio=mine[0].median / baseline.median,
    )


class Round(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    seconds: float
    size: int


def _rate(name: str, rounds: list[Round]) -> Figure:
    return figure(name, "events/s", [one.events / one.seconds for one in rounds])


async def _round(feeder: Feeder, graph: dict[str, object], ours: Served, token: str, *, batch: bool) -> Round:
    run = await feeder.run("bench", graph)
    data = {"graph_exec_id": run.row.id, "seq": True, "batch": batch}
    request = msgspec.json.encode({"method": "subscribe_graph_execution", "data": data}).decode()
    spec = Spec(url=f"{ours.socket}?token={token}", groups=[Group(count=SOCKETS, requests=[request])])
    async with crowd(spec) as clients:
        await asyncio.sleep(QUIET_SECONDS)
        await feeder.feed([(run, run.step(PER_ROW)) for _ in range(EXECUTIONS // PER_ROW)])
        return _judged(await clients.seen(QUIET_SECONDS))


async def _relay(platform: Platform, stock: Served, way: str, events: int, size: int) -> Round:
    frame = '{"method":"node_execution_event","data":"'
    message = f'{frame}{"x" * (size - len(frame) - 2)}"}}'.encode()
    redis = Redis.from_url(str(platform.settings.redis_url))
    sender = backend(way, redis)
    await redis.flushdb()  # a fresh subscriber of the streams backend gets all that is still there
    async with crowd(Spec(url=f"{stock.socket}?", groups=[Group(count=SOCKETS)])) as clients:
        await asyncio.sleep(QUIET_SECONDS)
        for _ in range(events):
            await (sender.publish(message, [CHANNEL]) if sender else redis.publish(CHANNEL, message))
        seen = await clients.seen(QUIET_SECONDS)
    await redis.aclose()
    return _judged(seen)


def _judged(seen: Seen) -> Round:
    assert seen.events
    assert seen.least * SOCKETS == seen.events, f"some socket got only {seen.least} events"
    return Round(events=seen.events, seconds=seen.last - seen.first, size=seen.bytes // seen.events)
