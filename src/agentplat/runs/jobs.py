"""Queue jobs of runs and of isolated nodes. A job only wakes a worker: the database says what is true."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from agentplat.runs.control import BEGIN, JOB_HEARTBEAT_SECONDS, NODE, RESUME
from agentplat.runs.driver import Driver
from agentplat.runs.nodehost import NodeHost

__all__ = ["BEGIN", "NODE", "RESUME", "begin", "execute_node", "resume"]


async def begin(ctx: dict[str, Any]) -> None:
    """Have this process's driver begin the run whose turn it is, which need not be the one that the job came for."""
    driver: Driver = ctx["driver"]
    await _beating(ctx, driver.take_turn())


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
