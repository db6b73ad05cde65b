"""Waiting for something to become true, and not for time to pass."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

from redis.asyncio import Redis

T = TypeVar("T")

AGAIN_SECONDS = 0.01


async def until(condition: Callable[[], Awaitable[T] | T], seconds: float = 30.0) -> T:
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
