"""What sockets cost that have nothing to say: resident memory of each, and processor time of 5,000 with heartbeats.

Baseline: the same sockets on the API server, which runs under granian.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from agentplat.cli.supervisor import Platform
from benchmarks.platform import started
from benchmarks.report import Result, figure
from benchmarks.sockets.client import Group, Spec
from benchmarks.sockets.crowd import allow_files, crowd
from benchmarks.sockets.process import API_SERVER, OURS, Served, served

FEW, MANY = 1_000, 5_000
HEARTBEAT_SECONDS = 100.0
SETTLE_SECONDS, ROUND_SECONDS = 3.0, 10.0
ROUNDS = 3  # of three kinds, each in a process of its own: some two minutes in all
WARM_UP = 50


class Cost(Struct, frozen=True):
    """What one socket takes, and all of them together."""

    kilobytes: float
    percent: float


def main() -> Result:
    allow_files()
    with started(workers=0) as (platform, token):
        return asyncio.run(_measure(platform, token))


async def _measure(platform: Platform, token: str) -> Result:
    few = [await _memory(platform, OURS, token, FEW) for _ in range(ROUNDS)]
    many = [await _cost(platform, OURS, token, MANY) for _ in range(ROUNDS)]
    api = [await _memory(platform, API_SERVER, token, FEW) for _ in range(ROUNDS)]
    mine = figure(f"{FEW:,} sockets", "KB per socket", few)
    theirs = figure(f"{FEW:,} sockets on the API server", "KB per socket", api)
    return Result(
        case="socket_idle",
        what="sockets with one subscription each, to a run in which nothing happens",
        target="<= 25 KB per socket; 5,000 sockets <= 10 % of a core",
        figures=[
            mine,
            figure(f"{MANY:,} sockets", "KB per socket", [one.kilobytes for one in many]),
            figure(f"{MANY:,} sockets", "% of a core", [one.percent for one in many]),
        ],
        baseline=theirs,
        ratio=theirs.median / mine.median,
    )


async def _memory(platform: Platform, command: tuple[str, ...], token: str, count: int) -> float:
    async with _idle(platform, command, token, count) as (_, kilobytes):
        return kilobytes


async def _cost(platform: Platform, command: tuple[str, ...], token: str, count: int) -> Cost:
    async with _idle(platform, command, token, count) as (server, kilobytes):
        before = server.cpu()
        await asyncio.sleep(ROUND_SECONDS)
        return Cost(kilobytes, (server.cpu() - before) / ROUND_SECONDS * 100)


@asynccontextmanager
async def _idle(
    platform: Platform, command: tuple[str, ...], token: str, count: int
) -> AsyncIterator[tuple[Served, float]]:
    """That many open sockets, and the KB that each takes. In a fresh process: what one has once needed it doesn't give
    back."""
    async with served(platform, *command) as server:
        url = f"{server.socket}?token={token}"
        async with crowd(_spec(url, WARM_UP)):
            await asyncio.sleep(SETTLE_SECONDS)
        resident = server.resident()
        async with crowd(_spec(url, count)) as clients:
            await asyncio.sleep(SETTLE_SECONDS)
            yield server, (server.resident() - resident) / 1024 / count
            seen = await clients.seen()
            assert not seen.closed


def _spec(url: str, count: int) -> Spec:
    target = {"graph_exec_id": "00000000-0000-4000-8000-000000000000"}
    request = msgspec.json.encode({"method": "subscribe_graph_execution", "data": target}).decode()
    return Spec(url=url, groups=[Group(count=count, requests=[request])], heartbeat=HEARTBEAT_SECONDS)
