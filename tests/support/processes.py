"""Running our own command, and waiting for what it does."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from tests.support.conditions import PATIENCE_SECONDS

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

# The kernel gives none of these to whoever connects, or wants any port. Test processes begin at different ones.
_PORTS = range(20_000, 32_000)
_ports = islice(cycle(_PORTS), os.getpid() * 37 % len(_PORTS), None)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, in which `tests` can be imported, and these variables."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))),
        **variables,
    }


def agentplat(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "agentplat", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
        check=False,
    )


def eventually(condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer."""
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up, "the condition was never met"
        time.sleep(0.02)
    return answer


def answers(url: str, path: str = "/health") -> bool:
    try:
        # Without certificates, whose loading would cost whoever starts there a good part of the processor.
        return httpx.get(f"{url}{path}", timeout=5, verify=False).is_success
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """A port that is nobody's, and that nobody else is given until it is used."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port := next(_ports)))
            except OSError:
                continue
            return port


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def words(processes: Iterable[psutil.Process]) -> set[str]:
    """The names of processes and what their command lines consist of. Some may end while they are looked at."""
    found: set[str] = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found |= {process.name(), *process.cmdline()}
    return found


def belonging_to(home: str) -> list[psutil.Process]:
    """The processes of a platform with that home."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            named = any(home in argument for argument in process.cmdline())
            if named or process.environ().get("AGENTPLAT_HOME") == home:
                found.append(process)
    return found
