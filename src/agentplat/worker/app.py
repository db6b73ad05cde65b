"""The worker process: a SAQ worker that hands runs to the driver."""

from contextlib import AsyncExitStack
from typing import Any

from saq import Worker

from agentplat.blocks import service as blocks
from agentplat.infra.db import close_database, open_database
from agentplat.infra.queue import queue
from agentplat.infra.readiness import announce_ready
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger
from agentplat.runs import jobs
from agentplat.runs.driver import Driver

# Jobs only claim a run and hand it over, so few are needed at once; each costs a Redis connection.
CONCURRENCY = 16
# Without a limit a worker that is told to end while its queue is empty may wait for a job that never comes.
DEQUEUE_SECONDS = 0.5
# Long enough for every waiting dequeue to come back by itself; what else the queue's worker does may be cut off.
GRACE_SECONDS = 1

_log = get_logger(__name__)


async def run_worker(settings: Settings) -> None:
    """Work until SIGINT or SIGTERM; then let go of what is under way and return."""
    async with AsyncExitStack() as stack:
        await open_database(settings)
        stack.push_async_callback(close_database)
        _ = await open_redis(settings)
        stack.push_async_callback(close_redis)
        stack.push_async_callback(blocks.close)
        _log.info("worker_starting", blocks=len(blocks.specs()))
        driver = await stack.enter_async_context(Driver(settings))
        context: dict[str, Any] = {"driver": driver}
        worker = Worker(
            queue("runs"),
            functions=[(jobs.BEGIN, jobs.begin), (jobs.RESUME, jobs.resume)],
            concurrency=CONCURRENCY,
            dequeue_timeout=DEQUEUE_SECONDS,
            shutdown_grace_period_s=GRACE_SECONDS,
            startup=_given(context),
        )
        _log.info("worker_ready", owner=driver.owner)
        announce_ready()
        await worker.start()


def _given(context: dict[str, Any]) -> Any:
    async def startup(worker_context: Any) -> None:
        worker_context.update(context)

    return startup
