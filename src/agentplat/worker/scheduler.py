"""The scheduler process."""

import asyncio
import signal
from contextlib import AsyncExitStack

from agentplat.blocks import service as blocks
from agentplat.infra.db import close_database, open_database
from agentplat.infra.readiness import announce_ready
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger
from agentplat.schedules.scheduler import Scheduler

_log = get_logger(__name__)


async def run_scheduler(settings: Settings) -> None:
    """Fire schedules until SIGINT or SIGTERM."""
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    async with AsyncExitStack() as stack:
        await open_database(settings)
        stack.push_async_callback(close_database)
        _ = await open_redis(settings)
        stack.push_async_callback(close_redis)
        stack.push_async_callback(blocks.close)
        # Graphs are checked as they are when somebody starts a run, so blocks have to be known here too.
        _log.info("scheduler_starting", blocks=len(blocks.specs()))
        await stack.enter_async_context(Scheduler())
        _log.info("scheduler_ready")
        announce_ready()
        await ending.wait()
