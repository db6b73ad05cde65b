"""Metrics of the platform as its processes show them."""

import asyncio
import re
from collections.abc import Callable, Iterator

import httpx
import msgspec
import pytest

from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import Settings
from tests.support.processes import agentplat, environment, eventually, free_port
from tests.support.services import Servers, create_database, drop_database

PROCESSES = 2
REQUESTS = 60


@pytest.fixture
def platform(
    services: Servers, settings: Settings, redis_url: str, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    name = f"agentplat_test_metrics_{worker_number}"
    own = msgspec.structs.replace(
        settings,
        database_url=asyncio.run(create_database(services.database_url, name)),
        redis_prefix="metrics",
        home=tmp_path_factory.mktemp("metrics"),
        port=free_port(),
        worker_metrics_port=free_port(),
    )
    env = environment(
        ENABLE_METRICS="true", AGENTPLAT_SERVER_PROCESSES=str(PROCESSES), AGENTPLAT_REDIS_PREFIX="metrics"
    )
    try:
        with Platform(own, quiet=True, env=env) as running:
            yield running
    finally:
        asyncio.run(drop_database(services.database_url, name))


def value(page: str, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", page, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_all_processes_count_together(platform: Platform, make_token: Callable[..., str]) -> None:
    line = 'agentplat_http_requests_total{handler="/api/graphs",method="GET",status="2xx"}'
    for _ in range(REQUESTS):  # over connections of their own, so that both processes get some
        headers = {"Authorization": f"Bearer {make_token('ann')}"}
        assert httpx.get(f"{platform.url}/api/graphs", headers=headers).status_code == 200
    # The last one is counted when its answer is on its way.
    eventually(lambda: value(httpx.get(f"{platform.url}/metrics").text, line) == REQUESTS)
    pages = [httpx.get(f"{platform.url}/metrics").text for _ in range(8)]
    assert [value(page, line) for page in pages] == [REQUESTS] * 8
    worker = httpx.get(f"http://127.0.0.1:{platform.settings.worker_metrics_port}/metrics").text
    assert "agentplat_runs_started_total 0.0" in worker


def test_a_worker_whose_port_is_taken_says_so(platform: Platform) -> None:
    port = str(platform.settings.worker_metrics_port)
    done = agentplat("worker", "--metrics-port", port, env=environment())
    assert done.returncode == 1
    assert "--metrics-port" in done.stderr
    assert eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/metrics").is_success)
