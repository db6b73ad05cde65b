"""The platform's own processes: started, watched, restarted with back-off, stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentplat.cli.lifeline import SUPERVISOR
from agentplat.infra.readiness import READY_FD

STOP_SECONDS = 15.0
# A child that lived this long was fine, and is restarted at once when it ends.
SETTLED_SECONDS = 30.0
FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0
LOG_BYTES = 8 * 1024 * 1024


class Child:
    """One `agentplat` subcommand. With a `log` its output goes there, otherwise to our own stdout and stderr."""

    def __init__(self, name: str, arguments: Sequence[str], env: Mapping[str, str], log: Path | None) -> None:
        self.name = name
        self.arguments = arguments
        self.env = env
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._delay = 0.0
        self._again_at = 0.0
        self._ready_pipe: int | None = None
        self._said_ready = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def ready(self) -> bool:
        """Whether it has said so (`announce_ready`) since it was last started."""
        if self._ready_pipe is not None:
            try:
                self._said_ready = os.read(self._ready_pipe, 1) == b"1"
            except BlockingIOError:
                return False
            self._close_pipe()
        return self._said_ready

    def start(self) -> None:
        self._close_pipe()
        self._said_ready = False
        output = self._open_log()
        self._ready_pipe, ready = os.pipe()
        os.set_blocking(self._ready_pipe, False)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentplat", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self.env, SUPERVISOR: str(os.getpid()), READY_FD: str(ready)},
                pass_fds=[ready],
                # Ctrl-C at the terminal is for the supervisor alone, which then stops everything in order.
                start_new_session=True,
            )
        finally:
            os.close(ready)
            if output is not None:
                os.close(output)
        self._started = time.monotonic()

    def restart_when_due(self) -> bool:
        """To be called often: starts the child again after it ended, waiting longer each time it ends soon."""
        if self.status is None:
            return False
        now = time.monotonic()
        if not self._again_at:
            settled = now - self._started > SETTLED_SECONDS
            self._delay = 0.0 if settled else min(max(self._delay * 2, FIRST_DELAY), LONGEST_DELAY)
            self._again_at = now + self._delay
        if now < self._again_at:
            return False
        self._again_at = 0.0
        self.start()
        return True

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> None:
        """Until it has ended; a child that does not end in time is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._ready_pipe is not None:
            os.close(self._ready_pipe)
            self._ready_pipe = None

    def last_words(self) -> str:
        if self.log is None:
            return "see its output above"
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-20:]) or f"it said nothing (log: {self.log})"

    def _open_log(self) -> int | None:
        if self.log is None:
            return None
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
