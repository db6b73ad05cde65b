"""`agentplat websocket`: a process of its own with the event sockets and nothing else."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from agentplat.cli.supervisor import Platform
from agentplat.client import AsyncClient
from tests.support.client import User
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.drawing import STORE, draw
from tests.support.processes import answers, eventually, free_port


@pytest.fixture(scope="module")
def sockets_url(platform: Platform) -> Iterator[str]:
    """A second process, on the database and the Redis of the platform."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "agentplat", "websocket", "--port", str(port)]
    with subprocess.Popen(command, env=platform.env, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: answers(url, "/"))
        yield url
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) in ((0, ""), (-signal.SIGTERM, ""))


def test_it_says_that_it_lives_and_has_nothing_of_the_api(sockets_url: str) -> None:
    answer = httpx.get(sockets_url)
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
    assert httpx.get(f"{sockets_url}/api/graphs").status_code == 404


async def test_events_of_runs_that_were_started_elsewhere(
    sockets_url: str, base_url: str, make_token: Callable[..., str]
) -> None:
    token = make_token("elsewhere")
    async with User(base_url, token) as user, AsyncClient(sockets_url, token) as client:
        graph, _ = await user.create(draw({"a": (STORE, {"input": 1})}))
        run = await user.start(graph)
        events = [event async for event in client.watch(run["id"])]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].final


@pytest.mark.parametrize(("query", "code"), [("", 4001), ("?token=nonsense", 4003)])
async def test_close_codes(sockets_url: str, query: str, code: int) -> None:
    async with connect(f"ws{sockets_url.removeprefix('http')}/ws{query}") as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
        assert socket.close_code == code


async def test_a_frame_that_is_too_long_ends_its_socket(sockets_url: str, make_token: Callable[..., str]) -> None:
    address = f"ws{sockets_url.removeprefix('http')}/ws?token={make_token('talker')}"
    async with connect(address, compression=None) as socket:
        await socket.send(json.dumps({"method": "heartbeat", "data": "x" * 999_000}))
        assert json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))["data"] == "pong"
        await socket.send(json.dumps({"method": "heartbeat", "data": "x" * 1_100_000}))
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
        assert socket.close_code == 1009
