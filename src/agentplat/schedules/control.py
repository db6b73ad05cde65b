"""A word to schedulers that something may be due earlier than they know. Only a shortcut: they look by themselves."""

import asyncio
from collections.abc import AsyncIterator

from redis.exceptions import RedisError

from agentplat.infra.redis import connect, redis
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

# A Redis that hangs must not hold up the answer to a client whose schedule is stored.
CALL_SECONDS = 1.0

_log = get_logger(__name__)


async def call() -> None:
    """Have all schedulers look at once."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await redis().publish(_channel(), b"")
    except (RedisError, OSError) as error:  # a TimeoutError is an OSError
        _log.warning("schedulers_not_called", reason=str(error))


async def hear() -> AsyncIterator[None]:
    """Once when calls are heard from now on, and once per call. Ends with an error when Redis goes away."""
    settings = get_settings()
    assert settings.redis_url is not None  # the process has opened it
    client = connect(settings.redis_url)
    try:
        async with client.pubsub() as subscription:
            await subscription.subscribe(_channel())
            async for _ in subscription.listen():
                yield
    finally:
        await client.aclose()


def _channel() -> str:
    return f"{get_settings().redis_prefix}:schedules"
