"""The worker process: SAQ workers that hand runs to the driver, and isolated nodes to their host."""

import asyncio
import signal
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any

from saq import Worker

from agentplat.blocks import service as blocks
from agentplat.credits.jobs import looking_after_payments
from agentplat.files import service as files
from agentplat.infra.db import close_database, open_database
from agentplat.infra.queue import queue
from agentplat.infra.readiness import announce_ready
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger
from agentplat.infra.upkeep import every
from agentplat.runs import jobs
from agentplat.runs.driver import Driver
from agentplat.runs.nodehost import NodeHost

QUEUES = ("runs", "nodes")
# Jobs of runs only claim a run and hand it over, so few are needed at once; each costs a Redis connection.
CONCURRENCY = 16
# Without a limit a worker that is told to end while its queue is empty may wait for a job that never comes.
DEQUEUE_SECONDS = 0.5
# Long enough for every waiting dequeue to come back by itself; what else the queue's worker does may be cut off.
GRACE_SECONDS = 1

# How soon an uploaded file that has expired is removed. One statement on a small index.
FILES_SECONDS = 60.0

_log = get_logger(__name__)


class _Consumer(Worker[Any]):
    # Of several in one process each would take the signals away from the one before.
    SIGNALS = []  # noqa: RUF012 - as declared there


async def run_worker(settings: Settings, queues: Collection[str] = QUEUES) -> None:
    """Work on these queues until SIGINT or SIGTERM; then let go of what is under way and return."""
    files.check_storage()
    async with AsyncExitStack() as stack:
        await open_database(settings)
        stack.push_async_callback(close_database)
        _ = await open_redis(settings)
        stack.push_async_callback(close_redis)
        stack.push_async_callback(blocks.close)
        _log.info("worker_starting", blocks=len(blocks.specs()))
        consumers: list[_Consumer] = []
        if "runs" in queues:
            driver = await stack.enter_async_context(Driver(settings))
            await stack.enter_async_context(jobs.answering(driver))
            await stack.enter_async_context(looking_after_payments())
            tidying = asyncio.create_task(every(FILES_SECONDS, files.remove_expired), name="expired-files")
            stack.callback(tidying.cancel)
            consumers.append(_consumer("runs", [(jobs.RESUME, jobs.resume)], CONCURRENCY, driver=driver))
        if "nodes" in queues:
            host = await stack.enter_async_context(NodeHost(settings))
            consumers.append(_consumer("nodes", [(jobs.NODE, jobs.execute_node)], host.size, node_host=host))
        _log.info("worker_ready", queues=sorted(queues))
        announce_ready()
        await _consume(consumers)


def _consumer(name: str, functions: list[Any], concurrency: int, **context: Any) -> _Consumer:
    async def startup(worker_context: Any) -> None:
        worker_context.update(context)

    return _Consumer(
        queue(name),
        functions=functions,
        concurrency=concurrency,
        dequeue_timeout=DEQUEUE_SECONDS,
        shutdown_grace_period_s=GRACE_SECONDS,
        startup=startup,
    )


async def _consume(consumers: list[_Consumer]) -> None:
    """Until a signal, or until one of them ends by itself."""
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    told = asyncio.create_task(ending.wait())
    working = [asyncio.create_task(consumer.start()) for consumer in consumers]
    try:
        await asyncio.wait((told, *working), return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        for consumer in consumers:
            consumer.event.set()
        await asyncio.gather(*working)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
