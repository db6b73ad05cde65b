"""Waiting for something to become true, and not for time to pass."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

from redis.asyncio import Redis

from agentplat.infra.db import Database

T = TypeVar("T")

AGAIN_SECONDS = 0.01
# Nobody waits for so long but where something is wrong, however busy the machine is.
PATIENCE_SECONDS = 60.0


async def until(condition: Callable[[], Awaitable[T] | T], seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer. TimeoutError if there is none in time."""
    async with asyncio.timeout(seconds):
        while True:
            asked = condition()
            answer: T = await asked if isawaitable(asked) else asked
            if answer:
                return answer
            await asyncio.sleep(AGAIN_SECONDS)


async def connections_at(redis: Redis, command: str) -> int:
    """How many connections to this database of Redis asked for that last, and may be waiting for the answer."""
    own = (await redis.client_info())["db"]
    return [one["cmd"] for one in await redis.client_list() if one["db"] == str(own)].count(command)


async def cut_from_redis(redis: Redis, kind: str | None = None) -> int:
    """Cut all connections to this database of Redis but the asking one, or those of a kind: `normal` or `pubsub`.
    Those of other test processes are to other databases. Returns how many that were."""
    own = await redis.client_info()
    others = [one for one in await redis.client_list(_type=kind) if one["db"] == str(own["db"])]
    cut = [one["id"] for one in others if one["id"] != str(own["id"])]
    for client_id in cut:
        await redis.client_kill_filter(_id=client_id)
    return len(cut)


async def cut_from_postgres(db: Database) -> None:
    """Cut all connections to this database but the asking one, as a restart would, and wait until they are gone."""
    cut = await db.fetch(
        """
        SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        """
    )
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY($1)"
    await until(lambda: db.fetchval(gone, [row["pid"] for row in cut]))
