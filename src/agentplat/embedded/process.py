"""One server process: started as the right account, waited for, stopped with ever stronger signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from agentplat.embedded import launch
from agentplat.embedded.account import Account
from agentplat.embedded.errors import EmbeddedError

# After a crash Postgres replays its log before it is ready, which may take a while on a slow disk.
READY_SECONDS = 120.0
POLL_SECONDS = 0.005
LOG_BYTES = 8 * 1024 * 1024
# An empty environment keeps PG* and MALLOC_* variables of the user's shell out of the servers.
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class Server:
    """`signals` are tried in turn at stopping, each with the seconds it is given; SIGKILL comes last."""

    def __init__(self, name: str, account: Account, log: Path, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        self.name = name
        self.account = account
        self.log = log
        self.signals = signals
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def spawn(self, command: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        _rotate(self.log)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", launch.__file__),
                    *(str(os.getpid()), str(int(self.signals[0][0])), str(self.account.uid), str(self.account.gid)),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(ENVIRONMENT),
                cwd="/",
                pass_fds=pass_fds,
                # Ctrl-C at the terminal is for the supervisor, which stops the servers last.
                start_new_session=True,
            )

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while not ready():
            if not self.alive():
                raise self.failure("did not start")
            if time.monotonic() > give_up:
                self.stop()
                raise self.failure(f"was not ready after {READY_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is None:
            return
        for number, seconds in (*self.signals, (signal.SIGKILL, 10.0)):
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def said(self) -> str:
        """What the server logged since it was last started."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                return log.read(256 * 1024).decode(errors="replace")
        except OSError:
            return ""

    def failure(self, what: str) -> EmbeddedError:
        said = self.said()
        if "No space left on device" in said:
            return EmbeddedError(
                f"The embedded {self.name} {what}: the disk is full.",
                hint="Free some space, or set AGENTPLAT_HOME to a directory on another disk.",
            )
        lines = [line for line in said.splitlines() if line.strip()]
        fatal = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror"))]
        reason = (fatal or lines or ["it said nothing"])[-1].strip()
        return EmbeddedError(f"The embedded {self.name} {what}: {reason}", hint=f"More may be in {self.log}.")


def stop_orphan(process: psutil.Process, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Stop a server that isn't our child, because the supervisor that started it was killed."""
    for number, seconds in (*signals, (signal.SIGKILL, 10.0)):
        try:
            process.send_signal(number)
            process.wait(seconds)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return


def _rotate(log: Path) -> None:
    try:
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    except FileNotFoundError:
        pass
