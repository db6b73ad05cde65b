"""`agentplat worker`."""

import click
import uvloop

from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import configure_logging
from agentplat.worker.app import run_worker


@click.command("worker")
def command() -> None:
    """Execute runs from the queue. Needs DATABASE_URL and REDIS_URL. SIGTERM hands its runs back and ends."""
    settings = get_settings()
    configure_logging(settings)
    uvloop.run(run_worker(settings))
