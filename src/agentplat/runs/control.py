"""Messages to workers: take a run, stop a run.

Only shortcuts: what they say is on record, and noticed by the next sweep or heartbeat where Redis lost them.
"""

from collections.abc import AsyncIterator

from agentplat.infra.queue import queue
from agentplat.infra.redis import connect, redis
from agentplat.infra.settings import get_settings

# The name of the queue job that offers a run to a worker.
EXECUTE = "runs.execute"
# A job that was not heard of for this long is given to another worker.
JOB_HEARTBEAT_SECONDS = 30


async def offer(run_id: str) -> None:
    """Put a run before the workers. Offering it twice does no harm."""
    await queue("runs").enqueue(
        EXECUTE, key=run_id, run_id=run_id, timeout=0, heartbeat=JOB_HEARTBEAT_SECONDS, retries=3, ttl=-1
    )


def _channel() -> str:
    return f"{get_settings().redis_prefix}:stop"


async def send_stop(run_id: str) -> None:
    await redis().publish(_channel(), run_id)


async def stops() -> AsyncIterator[str]:
    """Ids of runs that are to be stopped. Ends with an error when Redis goes away."""
    settings = get_settings()
    assert settings.redis_url is not None  # the process has opened it
    client = connect(settings.redis_url)
    try:
        async with client.pubsub() as subscription:
            await subscription.subscribe(_channel())
            async for message in subscription.listen():
                if message["type"] == "message":
                    yield message["data"].decode()
    finally:
        await client.aclose()
