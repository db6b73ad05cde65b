"""The embedded Postgres: made once, then started and stopped with the platform.

When root borrows an account for it, the data may lie below a directory which that account may not enter (root's home).
Postgres is then given the directory as an open file descriptor, by its name under /proc/self/fd: it can use that very
directory, needs no rights on those above it, and nobody's permissions are changed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from agentplat.embedded.binaries import Binaries
from agentplat.embedded.errors import EmbeddedError
from agentplat.embedded.home import Home
from agentplat.embedded.process import ENVIRONMENT, Server, stop_orphan

NAME = "agentplat"
# Fast shutdown; then immediate, which leaves recovery to the next start.
SIGNALS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
# Given on the command line, so that they hold for data directories of older versions too.
OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "jit": "off",
    # One machine without replicas: less to write for every commit.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "idle_in_transaction_session_timeout": "5min",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# The processes of a postmaster that was killed need a moment to notice, and hold its shared memory until they do.
LINGER_SECONDS = 10.0


class Postgres:
    def __init__(self, home: Home, binaries: Binaries, sockets: Path) -> None:
        self.home = home
        self.binaries = binaries
        self.sockets = sockets
        self.data = home.path / "postgres"
        self.server = Server("Postgres", home.account, home.path / "postgres.log", SIGNALS)

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(self.sockets), safe='/')}"

    def start(self) -> None:
        self._stop_orphan()
        if not self.data.exists():
            self._initialise()
        self._check_version()
        give_up = time.monotonic() + LINGER_SECONDS
        while True:
            self._spawn()
            try:
                self.server.wait_ready(self._ready)
                return
            except EmbeddedError:
                if "pre-existing shared memory block" not in self.server.said() or time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        self.server.stop()

    def _spawn(self) -> None:
        with _Directory(self.data, self.home) as (path, fds):
            options = {**OPTIONS, "unix_socket_directories": str(self.sockets)}
            self.server.spawn(
                [
                    *(str(self.binaries.postgres), "-D", path),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ],
                fds,
            )

    def _ready(self) -> bool:
        """As pg_ctl does it: the last line of the pid file says so, and the first that it is this postmaster's."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.server.pid) and lines[7].strip() == "ready"

    def _initialise(self) -> None:
        """In a directory aside, renamed when complete: what an interruption leaves is thrown away."""
        draft = self.home.path / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        self.home.make_private(draft.name)
        with _Directory(draft, self.home) as (path, fds):
            self._run(
                [
                    *(str(self.binaries.initdb), "-D", path, "-U", NAME, "--auth=trust", "--encoding=UTF8"),
                    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
                ],
                fds,
            )
            self._run(
                [str(self.binaries.postgres), "--single", "-D", path, "postgres"], fds, f"CREATE DATABASE {NAME}\n"
            )
        draft.rename(self.data)

    def _run(self, command: list[str], fds: tuple[int, ...], text: str = "") -> None:
        account = self.home.account
        as_account: dict[str, Any] = (
            {"user": account.uid, "group": account.gid, "extra_groups": []} if account.borrowed else {}
        )
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=dict(ENVIRONMENT),
            cwd="/",
            pass_fds=fds,
            **as_account,
        )
        said = f"{done.stdout}\n{done.stderr}"
        # A stand-alone backend exits with 0 whatever became of its statements.
        if done.returncode == 0 and "ERROR:" not in said and "FATAL:" not in said:
            return
        with self.server.log.open("a") as log:
            log.write(said)
        if "No space left on device" in said or "Disk quota exceeded" in said:
            raise EmbeddedError(
                f"The disk of {self.home.path} is full; Postgres could not make its database.",
                hint="Free some space, or set AGENTPLAT_HOME to a directory on another disk.",
            )
        reason = next((line for line in reversed(said.splitlines()) if "rror" in line or "FATAL" in line), "")
        raise EmbeddedError(
            f"Postgres could not make its database: {reason.strip() or f'status {done.returncode}'}",
            hint=f"More is in {self.server.log}.",
        )

    def _check_version(self) -> None:
        try:
            major = int((self.data / "PG_VERSION").read_text())
        except (OSError, ValueError) as error:
            raise EmbeddedError(
                f"{self.data} is not a Postgres data directory.", hint="Move it away to start with an empty database."
            ) from error
        if major != self.binaries.postgres_major:
            raise EmbeddedError(
                f"{self.data} was made by Postgres {major}, and this is Postgres {self.binaries.postgres_major}.",
                hint="Dump it with the old version and load it into a new AGENTPLAT_HOME.",
            )
        if self.data.stat().st_uid != self.home.account.uid:
            raise EmbeddedError(
                f"{self.data} does not belong to the account {self.home.account.name!r}.",
                hint="Start agentplat as the user who made it, or set AGENTPLAT_HOME to another directory.",
            )

    def _stop_orphan(self) -> None:
        """The home is locked by us, so whatever still runs on its data has lost its supervisor."""
        pid_file = self.data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            ours = os.path.samefile(process.cwd(), self.data)
        except (OSError, ValueError, psutil.NoSuchProcess, psutil.ZombieProcess):
            return
        except psutil.AccessDenied:
            ours = False
        if ours:
            stop_orphan(process, SIGNALS)
        else:
            # The number was given to another process since, and Postgres would take that one for a running server.
            pid_file.unlink()


class _Directory:
    """A data directory under a name that the servers' account can use, for as long as it takes to start a process."""

    def __init__(self, path: Path, home: Home) -> None:
        self.path = path
        self._by_descriptor = not home.account.can_reach(path.parent)
        self._fd: int | None = None
        if self._by_descriptor and sys.platform != "linux":
            raise EmbeddedError(
                f"The account {home.account.name!r}, as which Postgres runs, may not enter {path.parent}.",
                hint="Set AGENTPLAT_HOME to a directory below one that everybody may enter.",
            )

    def __enter__(self) -> tuple[str, tuple[int, ...]]:
        if not self._by_descriptor:
            return str(self.path), ()
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}", (self._fd,)

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)
