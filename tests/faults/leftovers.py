"""What is left that nobody owns: jobs and other keys in Redis, mail of runs that are over."""

import asyncio
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from agentplat.infra.db import db
from agentplat.infra.settings import get_settings

# The queue's own sweep takes a job out of all lists for some seconds before it puts it back, and mailboxes of runs that
# are over are emptied a while later.
LOOKS, LOOK_SECONDS = 12, 1.0
# What a queue consists of besides its jobs.
QUEUE_PARTS = ("stats", "queued", "active", "incomplete", "schedule", "sweep", "worker_info", "worker_metadata")


async def lasting(look: Callable[[], Awaitable[set[str]]], seconds: float = LOOK_SECONDS) -> list[str]:
    """What is found now and at every look after. Things change while they are read, so only what stays is wrong."""
    found = await look()
    for _ in range(LOOKS):
        if not found:
            break
        await asyncio.sleep(seconds)
        found &= await look()
    return sorted(found)


async def leftovers(redis: Redis) -> list[str]:
    async def look() -> set[str]:
        return await in_mailboxes() | await in_redis(redis)

    return await lasting(look)


async def in_mailboxes() -> set[str]:
    rows = await db().fetch(
        """
        SELECT m.run_id, m.letters, r.status FROM mailboxes m JOIN runs r ON r.id = m.run_id
        WHERE r.status IN ('COMPLETED', 'FAILED', 'TERMINATED')
        """
    )
    return {f"{row['run_id']}: is {row['status']}, and its mailbox is still there" for row in rows}


async def in_redis(redis: Redis) -> set[str]:
    """A job that is in no list is one that neither a worker nor the queue's own sweep will ever look at."""
    prefix = get_settings().redis_prefix
    queue = f"{{{prefix}}}:"
    names: set[str] = set()
    jobs: set[bytes] = set()
    found: set[str] = set()
    async for key in redis.scan_iter(f"*{prefix}*"):
        if key.startswith(f"saq:job:{queue}".encode()):
            jobs.add(key)
        elif key.startswith(f"saq:{queue}".encode()):
            names.add(key.decode().split(":")[2])
            if key.decode().split(":")[3] not in QUEUE_PARTS:
                found.add(f"{key.decode()} is no part of a queue")
        elif not key.startswith(f"{prefix}:events:".encode()) and await redis.ttl(key) == -1:
            found.add(f"{key.decode()} belongs to nobody and stays for ever")
    for name in names:
        for kind in ("queued", "active"):
            jobs -= {one for one in await redis.lrange(f"saq:{queue}{name}:{kind}", 0, -1) if isinstance(one, bytes)}
    return found | {f"{key.decode()} is in no list" for key in jobs if await redis.exists(key)}
