"""One scheduler: sleeps until something is due, fires it, sleeps again. Any number may run, and none knows of others.

It asks the database when the next schedule is due, and sleeps until then; a call through Redis says that there is an
earlier one. As calls may get lost, it looks again after a few seconds in any case.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from redis.exceptions import RedisError

from agentplat.infra import clock
from agentplat.infra.telemetry import get_logger
from agentplat.runs import service as runs
from agentplat.schedules import control, firing

# How late a schedule may be that nobody was called for. Each look is two statements on one small index.
LOOK_SECONDS = 5.0
# While the database or Redis is away.
RETRY_SECONDS = 0.5
# What is due and locked by somebody else is either being fired or being changed, and both is over soon.
LOCKED_SECONDS = 0.2

_log = get_logger(__name__)


class Clock(Protocol):
    """What time it is, and how to let it pass."""

    def now(self) -> datetime: ...

    async def wait(self, called: asyncio.Event, seconds: float) -> None:
        """Until the event is set or the time is over."""


class WallClock:
    def now(self) -> datetime:
        return clock.now()

    async def wait(self, called: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await called.wait()


class Scheduler:
    """Use as `async with Scheduler()`, with the database and Redis open. `look_seconds` is for tests."""

    def __init__(self, clock: Clock | None = None, look_seconds: float = LOOK_SECONDS) -> None:
        self._clock = clock or WallClock()
        self._look_seconds = look_seconds
        self._called = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Scheduler":
        self._tasks = [
            asyncio.create_task(self._fire(), name="fire-schedules"),
            asyncio.create_task(self._hear(), name="hear-schedules"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """What is just being fired is rolled back, and stays due for others."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fire(self) -> None:
        while True:
            # Before looking: a call that comes meanwhile makes it look again.
            self._called.clear()
            try:
                seconds = await self._turn()
            except runs.DATABASE_AWAY as error:
                _log.warning("schedules_delayed", reason=str(error) or type(error).__name__)
                seconds = RETRY_SECONDS
            except Exception:
                # A scheduler that ended would keep everybody's schedules from firing.
                _log.exception("schedules_failed")
                seconds = RETRY_SECONDS
            if seconds > 0:
                await self._clock.wait(self._called, seconds)

    async def _turn(self) -> float:
        """Fire a batch of what is due. Returns for how many seconds there is nothing to do."""
        now = self._clock.now()
        if await firing.fire_due(now):
            return 0
        due = await firing.next_due()
        if due is None:
            return self._look_seconds
        if due <= now:
            return LOCKED_SECONDS
        return min(self._look_seconds, (due - self._clock.now()).total_seconds())

    async def _hear(self) -> None:
        while True:
            try:
                async for _ in control.hear():
                    self._called.set()
            except (RedisError, OSError) as error:
                _log.warning("calls_not_heard", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)
