"""What a process does again and again beside its work."""

import asyncio
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from agentplat.infra.db import DATABASE_AWAY
from agentplat.infra.telemetry import get_logger

_log = get_logger(__name__)


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Repeat upkeep. What fails is tried again: the database or Redis may just be restarting."""
    while True:
        try:
            await work()
        except (*DATABASE_AWAY, RedisError) as error:
            _log.warning("upkeep_delayed", work=getattr(work, "__name__", "?"), reason=str(error))
        except Exception:
            # A defect in one turn must not end the upkeep of this process for good.
            _log.exception("upkeep_failed", work=getattr(work, "__name__", "?"))
        await asyncio.sleep(seconds)
