"""What the page on realtime shows for browsers, in a browser: a page of another origin that loses its server.

It is served from here, runs the documented script as it stands, and tells here what it was shown.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from agentplat.cli.supervisor import Platform, free_port
from tests.realtime.test_javascript import OVER_HTTP, OVER_THE_SOCKET, PAGE, expected
from tests.support.client import User
from tests.support.conditions import until
from tests.support.drawing import SPILL, STORE, draw
from tests.support.processes import answers, eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
)
PATIENCE = 120.0  # seconds, for a browser on a machine that has much else to do
# What is told arrives in order, one after another.
SCRIPT = """
const [server, token, run] = %s;
let told = Promise.resolve();
const tell = (what) => { told = told.then(() => fetch("/", {method: "POST", body: JSON.stringify(what)})); };
window.onerror = (message) => tell({error: message});
window.onunhandledrejection = ({reason}) => tell({error: String(reason)});
"""
# It goes on until it is stopped, so it is under way whenever the server dies.
ENDLESS = draw({"p": (SPILL, {"count": 1_000_000, "delay": 0.1}), "b": (STORE, {})}, "p.n -> b.input")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed; Debian has it as the package chromium"
)


class Site(ThreadingHTTPServer):
    """An origin with one page. `told` is what the page has said, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        self.page = b""
        self.told: list[dict[str, Any]] = []


class Visit(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self._answer(self.server.page)

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as served:
        thread = Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@contextmanager
def sockets(platform: Platform, port: int, origin: str) -> Iterator[None]:
    """A server of events for pages of that origin. It ends as if somebody had pulled the plug."""
    command = [sys.executable, "-m", "agentplat", "websocket", "--port", str(port)]
    with subprocess.Popen(command, env={**platform.env, "BACKEND_CORS_ALLOW_ORIGINS": origin}) as process:
        try:
            eventually(lambda: answers(f"http://127.0.0.1:{port}", "/"), PATIENCE)
            yield
        finally:
            process.kill()


@contextmanager
def browser(address: str, home: Path) -> Iterator[None]:
    assert CHROMIUM
    with (home / "browser.log").open("wb") as log:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={home / 'profile'}", address]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                yield
            finally:
                process.terminate()


@pytest.mark.parametrize("shown", [OVER_HTTP, OVER_THE_SOCKET], ids=["http", "socket"])
async def test_a_page_that_loses_its_server_misses_nothing_and_sees_nothing_twice(
    shown: str, platform: Platform, user: User, site: Site, tmp_path: Path
) -> None:
    graph, _ = await user.create(ENDLESS)
    run = await user.start(graph)
    port = free_port()
    given = json.dumps([f"http://127.0.0.1:{port}", user.token, run["id"]])
    site.page = f'<!doctype html><script type="module">{SCRIPT % given}{PAGE % shown}</script>'.encode()

    async def more() -> None:
        known = len(site.told)
        await until(lambda: len(site.told) > known + 10, PATIENCE)

    # The page is there first, and comes back by itself to each of them.
    with browser(site.origin, tmp_path):
        with sockets(platform, port, site.origin):
            await more()
        with sockets(platform, port, site.origin):
            await more()
            await user.stop(run)
            await until(lambda: site.told[-1].get("data", {}).get("status") == "TERMINATED", PATIENCE)
    assert site.told == await expected(user, run["id"])
