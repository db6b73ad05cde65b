"""The embedded Valkey: jobs and events in memory. Nothing is kept, because Postgres is the truth."""

import signal
import socket
from pathlib import Path
from urllib.parse import quote

import psutil

from agentplat.embedded.binaries import Binaries
from agentplat.embedded.home import Home
from agentplat.embedded.process import Server, stop_orphan

SIGNALS = ((signal.SIGTERM, 5.0),)
OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "maxmemory-policy": "noeviction",
    "databases": "64",
    "loglevel": "warning",
    # A crash report in the log is enough.
    "crash-memcheck-enabled": "no",
}


class Valkey:
    def __init__(self, home: Home, binaries: Binaries, sockets: Path) -> None:
        self.binaries = binaries
        self.socket = sockets / "valkey.sock"
        self.pid_file = home.path / "valkey.pid"
        self.server = Server("Valkey", home.account, home.path / "valkey.log", SIGNALS)

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket), safe='/')}?db=0"

    def start(self) -> None:
        self._stop_orphan()
        options = {**OPTIONS, "unixsocket": str(self.socket), "dir": str(self.socket.parent)}
        self.server.spawn(
            [str(self.binaries.valkey), *(part for name, value in options.items() for part in (f"--{name}", value))]
        )
        self._remember()
        self.server.wait_ready(self._ready)

    def stop(self) -> None:
        self.server.stop()
        self.pid_file.unlink(missing_ok=True)

    def _ready(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _remember(self) -> None:
        """Number and start time together name one process for ever; the number alone is given out again."""
        try:
            started = psutil.Process(self.server.pid).create_time()
        except psutil.NoSuchProcess:
            return
        self.pid_file.write_text(f"{self.server.pid} {started}\n")

    def _stop_orphan(self) -> None:
        try:
            pid, started = self.pid_file.read_text().split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(started)) < 1.0:
                stop_orphan(process, SIGNALS)
        except (OSError, ValueError, psutil.NoSuchProcess):
            pass
        self.pid_file.unlink(missing_ok=True)
