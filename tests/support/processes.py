"""Running our own command, and waiting for what it does."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


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
        timeout=120,
        env=env,
        check=False,
    )


def eventually(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """The first true answer."""
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up, "the condition was never met"
        time.sleep(0.02)
    return answer


def answers(url: str, path: str = "/health") -> bool:
    try:
        return httpx.get(f"{url}{path}", timeout=5).is_success
    except httpx.HTTPError:
        return False
