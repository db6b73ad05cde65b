"""Processor time that authentication, limits, headers, ids and timings add to a request, without server and network.

The same handler in the platform's application and in a bare one of Litestar, called as a server calls them. Baseline:
the bare one.
"""

import asyncio
import os
from time import process_time
from typing import Any

from litestar import Litestar, get

from agentplat.infra.settings import get_settings
from agentplat.server.app import create_app
from benchmarks.platform import started
from benchmarks.report import Result, figure
from benchmarks.rest.comparing import ROUNDS, UNLIMITED

REQUESTS = 20_000
HEADERS = {
    "host": "localhost",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en",
    "user-agent": "benchmark",
    "origin": "http://localhost:3000",
    "connection": "keep-alive",
}


@get("/small", include_in_schema=False)
async def small() -> dict[str, int]:
    return {"answer": 42}


def main() -> Result:
    with started(workers=0) as (platform, token):
        urls = {"DATABASE_URL": str(platform.settings.database_url), "REDIS_URL": str(platform.settings.redis_url)}
        os.environ |= {**urls, **UNLIMITED, "BACKEND_CORS_ALLOW_ORIGINS": "http://localhost:3000"}
        get_settings.cache_clear()
        full, bare = asyncio.run(_measure(token))
    added = [one - other for one, other in zip(full, bare, strict=True)]
    mine, theirs = figure("the whole request", "µs", full), figure("Litestar alone", "µs", bare)
    return Result(
        case="rest_edge",
        what="processor time per request, small GET with a token",
        target="<= 60 µs added",
        figures=[mine, figure("added", "µs", added)],
        baseline=theirs,
        ratio=theirs.median / mine.median,
    )


async def _measure(token: str) -> tuple[list[float], list[float]]:
    ours = create_app()
    ours.register(small)
    bare = Litestar([small], openapi_config=None, logging_config=None)
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"authorization", f"Bearer {token}".encode()))
    full, alone = [], []
    async with ours.lifespan():
        for app in (ours, bare):
            await _rounds(app, headers, REQUESTS // 10)  # warms up
        for _ in range(ROUNDS):
            full.append(await _rounds(ours, headers, REQUESTS))
            alone.append(await _rounds(bare, headers, REQUESTS))
    return full, alone


async def _rounds(app: Any, headers: list[tuple[bytes, bytes]], number: int) -> float:
    """Microseconds per request."""
    status = 0

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/small"}
    scope |= {"raw_path": b"/small", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}
    began = process_time()
    for _ in range(number):
        await app({**scope, "state": {}, "asgi": {"version": "3.0"}}, receive, send)
    assert status == 200
    return (process_time() - began) / number * 1e6
