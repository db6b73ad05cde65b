"""What the API answers while Postgres or Redis is away, and that it needs nobody's help afterwards.

On servers of its own, which are killed; everything else runs in this process.
"""

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from msgspec.structs import replace

from agentplat.accounts import service as accounts
from agentplat.embedded import EmbeddedServices, Urls
from agentplat.infra.clock import now
from agentplat.infra.migrate import migrate
from agentplat.infra.settings import Settings, get_settings
from agentplat.infra.telemetry import configure_logging
from agentplat.runs import queries
from agentplat.server.app import create_app
from agentplat.server.lifespan import services as open_services
from tests.support.api import created
from tests.support.conditions import until
from tests.support.operations import SCHEDULE, SECRET
from tests.support.switches import environment_of

Call = tuple[str, str, dict[str, Any] | None]


@pytest.fixture
def servers() -> Iterator[tuple[EmbeddedServices, Urls]]:
    # Not tmp_path: its name is too long for sockets.
    home = Path(tempfile.mkdtemp(prefix="agentplat-away-"))
    try:
        with EmbeddedServices() as started:
            yield started, started.start(home)
    finally:
        shutil.rmtree(home)


@pytest.fixture(autouse=True)
def quiet(settings: Settings) -> Iterator[None]:
    """Every call that is refused is logged with its cause, and structlog's own way to show one takes seconds."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging(replace(settings, log_format="json", log_level="CRITICAL"))
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
async def ann(
    servers: tuple[EmbeddedServices, Urls], settings: Settings, make_token: Callable[..., str]
) -> AsyncIterator[httpx.AsyncClient]:
    urls = servers[1]
    with environment_of(DATABASE_URL=str(urls.database_url), REDIS_URL=str(urls.redis_url)):
        await migrate(get_settings())
        app = create_app(get_settings())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {make_token('ann')}"}
        accounts.forget_users()
        async with (
            open_services(app),
            httpx.AsyncClient(transport=transport, base_url="http://agentplat", headers=headers) as client,
        ):
            await queries.ensure_partition(now().date())  # as workers do
            yield client
        accounts.forget_users()


async def calls(ann: httpx.AsyncClient) -> list[Call]:
    """Some that read, some that write, with one statement and in transactions."""
    graph = f"/api/graphs/{(await created(ann))['id']}"
    run = (await ann.post(f"{graph}/execute/1", json={})).json()
    schedule = (await ann.post(f"{graph}/schedules", json=SCHEDULE)).json()
    return [
        ("GET", "/health", None),
        ("GET", graph, None),
        ("PATCH", f"{graph}/settings", {"sensitive_action_safe_mode": True}),
        ("GET", "/api/executions", None),
        ("GET", f"{graph}/executions/{run['id']}", None),
        ("POST", f"{graph}/execute/1", {}),
        ("GET", "/api/schedules", None),
        ("PATCH", f"/api/schedules/{schedule['id']}", {"name": "Other"}),
        ("POST", "/api/integrations/github/credentials", SECRET),
        ("GET", "/api/onboarding", None),
    ]


async def statuses(ann: httpx.AsyncClient, asked: list[Call]) -> dict[str, int]:
    found = {}
    for method, path, body in asked:
        answer = await ann.request(method, path, json=body)
        found[f"{method} {path}"] = answer.status_code
        if answer.status_code == 503:
            assert answer.json().keys() == {"code", "message", "detail", "request_id"}, path
            assert answer.json()["code"] == "unavailable", path
            assert int(answer.headers["retry-after"]) > 0, path
    return found


async def all_answered(ann: httpx.AsyncClient, asked: list[Call]) -> bool:
    return all(status < 300 for status in (await statuses(ann, asked)).values())


async def test_without_postgres(ann: httpx.AsyncClient, servers: tuple[EmbeddedServices, Urls]) -> None:
    started, urls = servers
    asked = await calls(ann)
    assert await all_answered(ann, asked)
    pid = started.pids()["Postgres"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    away = dict.fromkeys((f"{method} {path}" for method, path, _ in asked), 503)
    # What serves a connection may do so a last time before it notices.
    await until(lambda: is_away(ann, asked, away))
    remove_socket(urls)
    assert await statuses(ann, asked) == away
    started.revive()
    await until(lambda: all_answered(ann, asked))


def remove_socket(urls: Urls) -> None:
    """As where a server was stopped in order, or its name leads nowhere."""
    directory = parse_qs(urlsplit(str(urls.database_url)).query)["host"][0]
    for socket in Path(directory).glob(".s.PGSQL*"):
        socket.unlink()


async def is_away(ann: httpx.AsyncClient, asked: list[Call], away: dict[str, int]) -> bool:
    return await statuses(ann, asked) == away


async def test_without_redis(ann: httpx.AsyncClient, servers: tuple[EmbeddedServices, Urls]) -> None:
    started, _ = servers
    asked = await calls(ann)
    run = next(path for method, path, _ in asked if method == "GET" and "/executions/" in path)
    pid = started.pids()["Valkey"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: refuses_tickets(ann))
    # All is on record, so it is only slower to begin; and nobody is counted.
    assert await all_answered(ann, asked)
    unchanged = (await ann.get(run)).headers["etag"]
    assert (await ann.get(run, headers={"If-None-Match": unchanged})).status_code == 304
    refused = await ann.post("/api/ws/ticket")
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    started.revive()
    await until(lambda: gives_tickets(ann))


async def refuses_tickets(ann: httpx.AsyncClient) -> bool:
    return (await ann.post("/api/ws/ticket")).status_code == 503


async def gives_tickets(ann: httpx.AsyncClient) -> bool:
    return (await ann.post("/api/ws/ticket")).status_code == 200
