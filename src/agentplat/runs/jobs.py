"""What wakes a worker: the bell, for runs that wait for their turn, and queue jobs, for those that have begun and for
isolated nodes. All are only shortcuts: the database says what is true."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import RedisError

from agentplat.infra.telemetry import get_logger
from agentplat.runs import control
from agentplat.runs.control import JOB_HEARTBEAT_SECONDS, NODE, RESUME
from agentplat.runs.driver import Driver
from agentplat.runs.nodehost import NodeHost

__all__ = ["NODE", "RESUME", "answering", "execute_node", "resume"]

RETRY_SECONDS = 0.5
# Of several workers with room, one that answered all rings would have all the runs.
MOST_RINGS = 8

_log = get_logger(__name__)


@asynccontextmanager
async def answering(driver: Driver) -> AsyncIterator[None]:
    """Have the driver answer the workers' bell while the block runs."""
    task = asyncio.create_task(_answer(driver), name="answer")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await control.ring()  # one that was just answered may have been lost with the answer


async def _answer(driver: Driver) -> None:
    """A worker that is full answers nothing, so a ring reaches one that has room, however many there are."""
    while True:
        room = await driver.room()
        try:
            if rings := await control.answer(min(room, MOST_RINGS)):
                driver.look(rings)
        except (RedisError, OSError) as error:
            _log.warning("bell_not_heard", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)


async def resume(ctx: dict[str, Any], *, run_id: str) -> None:
    """Have this process's driver go on with the run."""
    driver: Driver = ctx["driver"]
    await _beating(ctx, driver.accept(run_id))


async def execute_node(ctx: dict[str, Any], *, run_id: str, activation: int) -> None:
    """Have this process execute an isolated node. Lasts until it is over, so that only free processes take another."""
    host: NodeHost = ctx["node_host"]
    await _beating(ctx, host.execute(run_id, activation))


async def _beating(ctx: dict[str, Any], work: Coroutine[Any, Any, bool]) -> None:
    """Beat while the worker is full, or at work."""
    taking = asyncio.ensure_future(work)
    while not (await asyncio.wait({taking}, timeout=JOB_HEARTBEAT_SECONDS / 3))[0]:
        await ctx["job"].update()
    await taking
