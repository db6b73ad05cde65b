"""`agentplat worker`."""

import click
import uvloop

from agentplat.infra import metrics
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import configure_logging
from agentplat.worker.app import QUEUES, run_worker


@click.command("worker")
@click.option(
    "--queues",
    type=click.Choice([*QUEUES, "all"]),
    default="all",
    show_default=True,
    help="`runs`: drive runs. `nodes`: execute isolated blocks, each in a child process.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65_535),
    help="Show metrics at this port.  [default: AGENTPLAT_WORKER_METRICS_PORT or not at all]",
)
def command(queues: str, metrics_port: int | None) -> None:
    """Execute runs from the queue. Needs DATABASE_URL and REDIS_URL. SIGTERM hands its runs back and ends."""
    settings = get_settings()
    configure_logging(settings)
    if port := metrics_port or settings.worker_metrics_port:
        metrics.serve(settings.host, port)
    uvloop.run(run_worker(settings, QUEUES if queues == "all" else (queues,)))
