import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest

from agentplat.cli.children import Child
from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import Settings
from tests.support.processes import agentplat, answers, belonging_to, environment, eventually, free_port, is_gone, words


class Up:
    """`agentplat up` as a process, on a home and a port of its own, with servers of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.env = environment(AGENTPLAT_HOME=str(home), AGENTPLAT_PORT=str(port), LOG_LEVEL="WARNING")
        for name in ("DATABASE_URL", "REDIS_URL"):
            self.env.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agentplat", "up"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_running(self) -> str:
        """What it printed until it was up."""
        assert self.process.stdout
        said = ""
        for line in self.process.stdout:
            said += line
            if "Press Ctrl-C" in line:
                return said
        pytest.fail(f"it ended instead: {said}")

    def descendants(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="agentplat-home-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    started = Up(home, free_port())
    yield started
    started.close()


def _is_another(child: Child, pid: int) -> bool:
    return child.pid != pid and child.status is None


def gone(processes: list[psutil.Process]) -> bool:
    return all(map(is_gone, processes))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_everything(up: Up, number: signal.Signals) -> None:
    said = up.wait_running()
    assert up.url in said
    assert "agentplat token" in said
    assert answers(up.url)
    assert json.loads((up.home / "platform.json").read_text())["pid"] == up.process.pid
    processes = up.descendants()
    assert {"postgres", "valkey-server", "server", "worker", "scheduler"} <= words(processes)
    up.process.send_signal(number)
    assert up.process.wait(30) == 0
    assert gone(processes)
    assert not (up.home / "platform.json").exists()


def test_a_signal_during_the_start_stops_everything(up: Up) -> None:
    processes = eventually(lambda: up.descendants())
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert gone(processes)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the servers live on until the next start")
def test_nothing_survives_a_killed_supervisor_and_the_next_start_works(up: Up) -> None:
    up.wait_running()
    processes = up.descendants()
    up.process.kill()
    up.process.wait()
    eventually(lambda: gone(processes))
    again = Up(up.home, free_port())
    try:
        again.wait_running()
        assert answers(again.url)
    finally:
        again.close()


def test_a_second_one_on_the_same_home_is_refused(up: Up) -> None:
    up.wait_running()
    refused = agentplat("up", env={**up.env, "AGENTPLAT_PORT": str(free_port())})
    assert refused.returncode == 1
    assert f"process {up.process.pid}" in refused.stderr
    assert up.url in refused.stderr
    assert "Traceback" not in refused.stderr
    assert answers(up.url)


def test_a_taken_port_is_noticed_first(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused = agentplat("up", "--port", port, env=environment(AGENTPLAT_HOME=str(home)))
    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in refused.stderr
    assert list(home.iterdir()) == []


def test_what_dies_is_started_again(settings: Settings, home: Path) -> None:
    own = msgspec.structs.replace(settings, home=home, port=free_port())
    with Platform(own, quiet=True, env=environment()) as platform:
        for name in ("server", "worker"):
            child = platform.child(name)
            pid = child.pid
            assert pid
            psutil.Process(pid).kill()
            eventually(partial(_is_another, child, pid))
        eventually(lambda: answers(platform.url) and platform.child("worker").ready)
        children = [psutil.Process(child.pid) for child in platform.children]
        children += [process for child in children for process in child.children(recursive=True)]
    assert len(children) >= 3
    assert gone(children)


def test_a_start_that_fails_says_why_and_leaves_nothing(settings: Settings, home: Path) -> None:
    failed = agentplat(
        "up",
        env=environment(AGENTPLAT_HOME=str(home), REDIS_URL="redis://127.0.0.1:1", AGENTPLAT_PORT=str(free_port())),
    )
    assert failed.returncode == 1
    assert "Redis can't be reached" in failed.stdout + failed.stderr
    assert gone(belonging_to(str(home)))
