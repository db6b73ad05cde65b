"""What the server counts. The numbers are the process's, so tests look at differences."""

from collections.abc import Callable

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from agentplat.accounts import service as accounts
from agentplat.infra.db import Database, close_database
from agentplat.infra.settings import Settings
from agentplat.server.app import create_app
from tests.support.api import NOBODYS_ID, Api, echo_graph

GRAPH = "/api/graphs/{graph_id}"


@pytest.fixture
def counted(db: Database, settings: Settings, make_token: Callable[..., str]) -> httpx.AsyncClient:
    """A client of an application that counts."""
    accounts.forget_users()
    app = create_app(replace(settings, enable_metrics=True))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),  # type: ignore[arg-type]
        base_url="http://agentplat",
        headers={"Authorization": f"Bearer {make_token('ann')}"},
    )


def requests(method: str, handler: str, status: str) -> float:
    labels = {"method": method, "handler": handler, "status": status}
    return REGISTRY.get_sample_value("agentplat_http_requests_total", labels) or 0


async def test_requests_are_counted_by_the_route_and_not_by_the_path(counted: httpx.AsyncClient) -> None:
    before = requests("GET", GRAPH, "2xx"), requests("GET", GRAPH, "4xx")
    for name in ("one", "two"):
        created = await counted.post("/api/graphs", json={"graph": echo_graph(name=name)})
        assert (await counted.get(f"/api/graphs/{created.json()['id']}")).status_code == 200
    assert (await counted.get(f"/api/graphs/{NOBODYS_ID}")).status_code == 404
    assert (requests("GET", GRAPH, "2xx"), requests("GET", GRAPH, "4xx")) == (before[0] + 2, before[1] + 1)
    took = REGISTRY.get_sample_value(
        "agentplat_http_request_duration_seconds_count", {"method": "GET", "handler": GRAPH}
    )
    assert took == requests("GET", GRAPH, "2xx") + requests("GET", GRAPH, "4xx")


async def test_what_strangers_make_up_adds_no_lines(counted: httpx.AsyncClient) -> None:
    """Paths and methods may be anything, and each line is kept for as long as the process lives."""
    before = requests("GET", "none", "4xx")
    for path in ("/nowhere", "/api/nothing", "/api/graphs/a/b/c/d"):
        await counted.get(path, headers={"Authorization": ""})
    await counted.request("BREW", "/coffee")
    assert requests("GET", "none", "4xx") == before + 3
    page = (await counted.get("/external-api/metrics")).text
    assert 'method="other"' in page
    assert "coffee" not in page
    assert "BREW" not in page


async def test_refused_tokens_are_counted_too(counted: httpx.AsyncClient) -> None:
    before = requests("GET", "/api/graphs", "4xx")
    assert (await counted.get("/api/graphs", headers={"Authorization": "Bearer no"})).status_code == 401
    assert requests("GET", "/api/graphs", "4xx") == before + 1


async def test_the_page_needs_no_token(counted: httpx.AsyncClient) -> None:
    page = await counted.get("/metrics", headers={"Authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nagentplat_runs_waiting 0\n" in page.text
    assert "\nagentplat_run_places_used 0\n" in page.text


async def test_the_page_needs_no_database(settings: Settings) -> None:
    await close_database()
    app = create_app(replace(settings, enable_metrics=True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agentplat") as client:  # type: ignore[arg-type]
        page = await client.get("/metrics")
    assert page.status_code == 200
    assert "agentplat_runs_waiting" not in page.text
    assert "agentplat_runs_accepted_total" in page.text


async def test_unless_it_is_wanted_there_is_no_page(api: Api) -> None:
    assert (await api("ann").get("/metrics")).status_code == 404
