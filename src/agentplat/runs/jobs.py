"""Queue jobs of runs. A job only wakes a worker: the database says what is true."""

import asyncio
from typing import Any

from agentplat.runs.control import EXECUTE, JOB_HEARTBEAT_SECONDS
from agentplat.runs.driver import Driver

__all__ = ["EXECUTE", "execute"]


async def execute(ctx: dict[str, Any], *, run_id: str) -> None:
    """Have this process's driver take the run. Beats while the worker is full."""
    driver: Driver = ctx["driver"]
    accepting = asyncio.ensure_future(driver.accept(run_id))
    while not (await asyncio.wait({accepting}, timeout=JOB_HEARTBEAT_SECONDS / 3))[0]:
        await ctx["job"].update()
    await accepting
