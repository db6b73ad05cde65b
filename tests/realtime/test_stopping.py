"""Servers that are told to stop while event streams are open, which have no end of their own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agentplat.cli.supervisor import Platform, free_port
from tests.realtime.test_streams import sent_events
from tests.support.client import User
from tests.support.drawing import SLOW, draw
from tests.support.processes import answers, eventually

PATIENCE = 120.0  # seconds, for a server on a machine that has much else to do
ENDLESS = draw({"s": (SLOW, {"v": 1, "delay": 600})})


@contextmanager
def serving(command: str, platform: Platform, port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "agentplat", command, "--port", str(port)],
        env={**platform.env, "ENABLE_METRICS": "false"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            path = "/" if command == "websocket" else "/health"
            eventually(lambda: answers(f"http://127.0.0.1:{port}", path), PATIENCE)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("command", ["server", "websocket"])
async def test_a_server_that_stops_ends_its_streams(command: str, platform: Platform, user: User) -> None:
    """Properly, as at the end of a run, and without being killed for them."""
    graph, _ = await user.create(ENDLESS)
    run = await user.start(graph)
    port = free_port()
    with serving(command, platform, port) as server:
        path = f"http://127.0.0.1:{port}/api/executions/{run['id']}/events"
        async with user.http.stream("GET", path) as response:
            events = sent_events(response)
            assert (await anext(events))["id"] == "1"
            server.send_signal(signal.SIGTERM)
            rest = [event async for event in events if "data" in event]
        _, said = server.communicate(timeout=PATIENCE)
    await user.stop(run)
    assert "TERMINATED" not in [event["data"]["status"] for event in rest]
    assert (server.returncode, said) in ((0, ""), (-signal.SIGTERM, ""))
