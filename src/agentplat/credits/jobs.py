"""What workers do for balances beside runs: automatic top-ups, and payments that nobody has finished."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentplat.credits import gateway, payments, service
from agentplat.infra.upkeep import every

# How soon a balance is topped up. Two statements on small indexes, and only where payments are set up.
LOOK_SECONDS = 1.0


@asynccontextmanager
async def looking_after_payments() -> AsyncIterator[None]:
    """Have this process see to payments while the block runs, where there can be any. The database must be open."""
    if not service.enabled() or not gateway.configured():
        yield
        return
    task = asyncio.create_task(every(LOOK_SECONDS, payments.look_after_unfinished), name="payments")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gateway.close()
