"""`agentplat fake-llm`."""

import os
import signal
from typing import Any

import click
import msgspec
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from agentplat.cli.console import out
from agentplat.cli.supervisor import check_port, free_port
from agentplat.fake_llm.app import Timing, create_app
from agentplat.infra.lifeline import die_with

# How the options reach granian's worker process.
_TIMING = "AGENTPLAT_FAKE_LLM"


@click.command("fake-llm")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8007,
    show_default=True,
    help="Port to listen on; 0 for a free one.",
)
@click.option("--first-token-ms", type=click.FloatRange(0), default=0.0, help="Time until an answer begins.")
@click.option("--token-ms", type=click.FloatRange(0), default=0.0, help="Time from one token to the next.")
@click.option("--tokens", type=click.IntRange(1), default=24, show_default=True, help="Length of an answer.")
def command(host: str, port: int, first_token_ms: float, token_ms: float, tokens: int) -> None:
    """Serve a deterministic OpenAI-compatible model.

    The same conversation always gets the same answer. A request may set its own timing with the headers
    x-fake-first-token-ms, x-fake-token-ms and x-fake-tokens, ask for a failure with x-fake-status, and dictate the
    answer with [[reply: some text]] or [[tool: name {"some": "arguments"}]] in the user's last message.
    """
    port = port or free_port()
    check_port(host, port)
    timing = Timing(first_token_ms=first_token_ms, token_ms=token_ms, tokens=tokens)
    os.environ[_TIMING] = msgspec.json.encode(timing).decode()
    out.print(f"http://{host}:{port}/v1")
    Granian(
        f"{__name__}:load",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        factory=True,
        websockets=False,
        workers_kill_timeout=5,
        log_level=LogLevels.warning,
    ).serve()


def load() -> Any:
    """The application, in granian's worker process."""
    die_with(os.getppid(), signal.SIGKILL)
    return create_app(msgspec.json.decode(os.environ[_TIMING], type=Timing))
