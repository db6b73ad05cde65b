"""The faults, each a coroutine that does it once to a running platform, with the pause that it is followed by."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
from msgspec import Struct

from agentplat.cli.supervisor import Platform


class Target:
    """A platform with embedded servers, seen as processes."""

    def __init__(self, platform: Platform, chance: random.Random, pause: float) -> None:
        self.platform = platform
        self.chance = chance
        # How long a process is stopped: longer than a lease.
        self.pause = pause

    def worker(self) -> int | None:
        """The pid of a random living worker."""
        living = [
            child.pid
            for child in self.platform.children
            if child.arguments[0] == "worker" and child.status is None and child.pid is not None
        ]
        return self.chance.choice(living) if living else None

    def server(self) -> int | None:
        child = self.platform.child("server")
        return child.pid if child.status is None else None

    def postgres(self) -> int | None:
        return _first_number(self.platform.settings.home / "postgres" / "postmaster.pid")

    def valkey(self) -> int | None:
        return _first_number(self.platform.settings.home / "valkey.pid")


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None  # it is being restarted right now


class Fault(Struct, frozen=True):
    """`inject` says whether it found something to break. `gap` is the least and the greatest pause after it."""

    name: str
    inject: Callable[[Target], Awaitable[bool]]
    gap: tuple[float, float]


def _send(pid: int | None, number: signal.Signals) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


async def _nothing(_: Target) -> bool:
    return True


async def _kill_worker(target: Target) -> bool:
    return _send(target.worker(), signal.SIGKILL)


async def _kill_server(target: Target) -> bool:
    return _send(target.server(), signal.SIGKILL)


async def _kill_valkey(target: Target) -> bool:
    """Its supervisor starts it again, empty."""
    return _send(target.valkey(), signal.SIGKILL)


async def _restart_postgres(target: Target) -> bool:
    return _send(target.postgres(), signal.SIGINT)


async def _kill_postgres(target: Target) -> bool:
    """The postmaster, or one of its processes, after which it restarts all of them by itself."""
    pid = target.postgres()
    if pid is not None and target.chance.random() < 0.5:
        with suppress(psutil.NoSuchProcess):
            pid = target.chance.choice(psutil.Process(pid).children() or [psutil.Process(pid)]).pid
    return _send(pid, signal.SIGKILL)


async def _pause_worker(target: Target) -> bool:
    return await _pause([target.worker()], target.pause)


async def _pause_valkey(target: Target) -> bool:
    return await _pause([target.valkey()], target.pause)


async def _pause_postgres(target: Target) -> bool:
    pid = target.postgres()
    try:
        children = [] if pid is None else [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    return await _pause([pid, *children], target.pause)


async def _pause(pids: Iterable[int | None], seconds: float) -> bool:
    stopped = [pid for pid in pids if _send(pid, signal.SIGSTOP)]
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in stopped:
            _send(pid, signal.SIGCONT)
    return bool(stopped)


FAULTS = (
    Fault("none", _nothing, (1.0, 1.0)),
    Fault("worker killed", _kill_worker, (1.0, 3.0)),
    Fault("worker paused past its lease", _pause_worker, (0.5, 1.5)),
    Fault("server killed during accepts", _kill_server, (2.0, 4.0)),
    Fault("Redis killed, restarted empty", _kill_valkey, (2.0, 4.0)),
    Fault("Redis paused", _pause_valkey, (1.0, 3.0)),
    Fault("Postgres restarted", _restart_postgres, (2.0, 5.0)),
    Fault("Postgres killed", _kill_postgres, (2.0, 5.0)),
    Fault("Postgres paused", _pause_postgres, (1.0, 3.0)),
)
