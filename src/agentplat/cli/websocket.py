"""`agentplat websocket`: the event sockets and streams in a process of their own, under uvicorn.

Granian, which serves the API, needs several times the memory for each open socket: docs/adr/ has the figures (0016).
"""

import socket

import click
import uvicorn

from agentplat.cli.supervisor import check_port
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import configure_logging
from agentplat.realtime import service as realtime
from agentplat.server.app import create_socket_app

PORT = 8001
STOP_SECONDS = 10
# No client has that much to say; a longer frame closes its socket (1009).
MAX_FRAME_BYTES = 1_000_000
BACKLOG = 4096
STARTUP_FAILURE = 3  # as uvicorn's own command ends


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        realtime.end_streams()
        await super().shutdown(sockets)


@click.command("websocket")
@click.option("--host", help="Address to listen on.  [default: AGENTPLAT_HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), default=PORT, show_default=True, help="Port to listen on.")
def command(host: str | None, port: int) -> None:
    """Serve the WebSocket and the event streams alone. Needs DATABASE_URL and REDIS_URL.

    Run as many as you like: each has all events of those whom it serves.
    """
    settings = get_settings()
    host = host or settings.host
    check_port(host, port)
    configure_logging(settings)
    config = uvicorn.Config(
        create_socket_app,
        factory=True,
        host=host,
        port=port,
        loop="uvloop",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        # Costs more processor time and memory per socket than what goes over the wire.
        ws_per_message_deflate=False,
        log_config=None,
        log_level="warning",
        # It would show tickets.
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = _Server(config)
    server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)
