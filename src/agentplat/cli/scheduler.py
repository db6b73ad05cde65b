"""`agentplat scheduler`."""

import click
import uvloop

from agentplat.infra import metrics
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import configure_logging
from agentplat.worker.scheduler import run_scheduler


@click.command("scheduler")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65_535),
    help="Show metrics at this port.  [default: AGENTPLAT_SCHEDULER_METRICS_PORT or not at all]",
)
def command(metrics_port: int | None) -> None:
    """Start runs at their scheduled times. Needs DATABASE_URL and REDIS_URL. SIGTERM ends it.

    Run as many as you like: of several, one fires each time of each schedule.
    """
    settings = get_settings()
    configure_logging(settings)
    if port := metrics_port or settings.scheduler_metrics_port:
        metrics.serve(settings.host, port)
    uvloop.run(run_scheduler(settings))
