"""`agentplat server`: the API under granian."""

import multiprocessing
import os
import signal
from contextlib import nullcontext
from typing import Any

import click
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from agentplat.cli.supervisor import check_port
from agentplat.infra.lifeline import die_with
from agentplat.infra.metrics import shared_by_processes
from agentplat.infra.settings import get_settings

# Sockets count as requests in progress: this bounds the dashboards that one process serves.
MOST_CONNECTIONS = 20_000
STOP_SECONDS = 10
# Has a worker process end its event streams.
END_STREAMS = signal.SIGUSR1


class _Server(Granian):  # type: ignore[misc, valid-type]
    def shutdown(self, exit_code: int = 0) -> None:
        """The workers wait for all that is being answered, and learn only of the streams what is to be done."""
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                os.kill(worker.pid, END_STREAMS)
        super().shutdown(exit_code)


@click.command("server")
@click.option("--host", help="Address to listen on.  [default: AGENTPLAT_HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on.  [default: AGENTPLAT_PORT or 8006]")
@click.option(
    "--processes", type=click.IntRange(1, 64), help="Server processes.  [default: AGENTPLAT_SERVER_PROCESSES or 1]"
)
def command(host: str | None, port: int | None, processes: int | None) -> None:
    """Serve the API and the WebSocket. Needs DATABASE_URL and REDIS_URL."""
    settings = get_settings()
    host, port = host or settings.host, port or settings.port
    check_port(host, port)
    processes = processes or settings.server_processes
    server = _Server(
        f"{__name__}:load",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=processes,
        factory=True,
        websockets=True,
        backlog=4096,
        backpressure=MOST_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.request_seconds * 1000)),
        # The only process that there is takes the server down with it: a start that fails must be seen to fail.
        respawn_failed_workers=processes > 1,
        respawn_interval=0.5,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.warning,
    )
    # Inherited by the processes that are started, and seen by them before they count anything.
    with shared_by_processes() if settings.enable_metrics and processes > 1 else nullcontext():
        server.serve()


def load() -> Any:
    """The application, in each of granian's worker processes."""
    # Killed rather than asked to stop: while it lingers it would hold the port that the next server needs.
    die_with(os.getppid(), signal.SIGKILL)
    from agentplat.infra.telemetry import configure_logging
    from agentplat.realtime import service as realtime
    from agentplat.server.app import create_app

    signal.signal(END_STREAMS, lambda *_: realtime.end_streams())
    configure_logging(get_settings())
    return create_app()
