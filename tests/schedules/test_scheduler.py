"""Schedulers at work: several at once over the changes of the clock, and one that is killed in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest
from redis.asyncio import Redis

from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.schedules import control, service
from agentplat.schedules.models import CreateSchedule, Schedule
from agentplat.schedules.scheduler import Scheduler
from tests.schedules.wall import MINUTE, at, naive
from tests.support.conditions import cut_from_postgres, cut_from_redis, until
from tests.support.drawing import INPUT, OUTPUT, draw
from tests.support.locks import waiting
from tests.support.processes import environment
from tests.support.world import ANN, save

ECHO = draw(
    {"in": (INPUT, {"name": "said", "value": ""}), "out": (OUTPUT, {"name": "heard"})}, "in.result -> out.value"
)
HOUR = 60 * MINUTE


class Time:
    """Virtual time of several schedulers: it goes on, to the first who wants to wake, when all of them wait."""

    def __init__(self, moment: datetime, until: datetime, sleepers: int) -> None:
        self.moment, self.until, self.sleepers = moment, until, sleepers
        self.over = asyncio.Event()
        self._waiting: list[tuple[datetime, asyncio.Event]] = []

    async def wait(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._waiting.append((self.moment + timedelta(seconds=seconds), woken))
        if len(self._waiting) == self.sleepers:
            self._go_on()
        await woken.wait()

    def _go_on(self) -> None:
        self.moment = min(moment for moment, _ in self._waiting)
        if self.moment > self.until:
            self.over.set()
            return
        for _, woken in [one for one in self._waiting if one[0] <= self.moment]:
            woken.set()
        self._waiting = [one for one in self._waiting if one[0] > self.moment]


class Skewed:
    """The clock of one machine, which is ahead of the time by so much."""

    def __init__(self, time: Time, ahead: timedelta) -> None:
        self.time, self.ahead = time, ahead

    def now(self) -> datetime:
        return self.time.moment + self.ahead

    async def wait(self, called: asyncio.Event, seconds: float) -> None:
        await self.time.wait(seconds)


async def scheduled(cron: str, zone: str, due: datetime, db: Database) -> Schedule:
    graph = await save(ECHO)
    body = CreateSchedule(name=cron, cron=cron, timezone=zone, inputs={})
    made = await service.create(ANN, graph.id, body)
    await db.execute("UPDATE schedules SET next_run_at = $2 WHERE id = $1", made.id, due)
    return made


@pytest.mark.parametrize("skew", [0, 2], ids=["same-clocks", "different-clocks"])
@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-10-25T01:00"),
        ("America/New_York", "2026-03-08T07:00"),
        ("America/New_York", "2026-11-01T06:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:30"),
        ("America/Santiago", "2026-09-06T04:00"),
    ],
)
async def test_of_three_schedulers_one_fires_each_time(
    db: Database, redis: Redis, zone: str, change: str, skew: int
) -> None:
    """From five hours before a change of the clock to five hours after: exactly what the wall shows, once each."""
    begin, end = at(change) - 5 * HOUR, at(change) + 5 * HOUR
    expected = {}
    for cron in ("30 2 * * *", "30 1,2 * * 0,6", "0 * * * *", "*/20 * * * *", "*/15 0-4 * * *"):
        times = naive(cron, zone, begin - MINUTE, end)
        schedule = await scheduled(cron, zone, times[0], db)
        expected[schedule.id] = times
    # Until after the last firing, and before the next: what is still due would differ by the skew.
    time = Time(begin - 2 * MINUTE, end + MINUTE, sleepers=3)
    async with AsyncExitStack() as stack:
        for number in (-1, 0, 1):
            clock = Skewed(time, timedelta(seconds=number * skew))
            await stack.enter_async_context(Scheduler(clock, look_seconds=3600))
        async with asyncio.timeout(60):
            await time.over.wait()
    rows = await db.fetch("SELECT schedule_id, scheduled_at, run_id FROM schedule_firings ORDER BY scheduled_at")
    fired = {one: [row["scheduled_at"] for row in rows if row["schedule_id"] == one] for one in expected}
    assert fired == expected
    stored = {row["id"] for row in await db.fetch("SELECT id FROM runs")}
    assert len(stored) == len(rows)
    assert {row["run_id"] for row in rows} == stored


# As processes


@contextmanager
def scheduler() -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "agentplat", "scheduler"]
    with subprocess.Popen(command, env=environment()) as process:
        try:
            yield process
        finally:
            process.kill()


async def firings(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM schedule_firings"))


async def test_a_scheduler_that_is_killed_between_claim_and_start_leaves_everything_to_the_next(
    db: Database, redis: Redis
) -> None:
    made = await scheduled("0 0 1 1 *", "UTC", now(), db)
    async with db.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        # No run can be inserted, so whoever has claimed the schedule stays there.
        await other.execute("LOCK TABLE runs IN SHARE MODE")
        with scheduler() as killed:
            await until(lambda: waiting(db))
            assert await db.fetchval("SELECT id FROM schedules FOR UPDATE SKIP LOCKED") is None
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait()
        await transaction.rollback()
    with scheduler():
        await until(lambda: firings(db))
    (run_id,) = [row["id"] for row in await db.fetch("SELECT id FROM runs")]
    shown = await service.get(ANN, made.id)
    assert (shown.last_run_id, shown.last_outcome) == (run_id, "STARTED")
    assert await firings(db) == 1


async def test_a_scheduler_hears_of_what_is_due_earlier(db: Database, redis: Redis) -> None:
    """It would look again by itself in an hour only."""
    async with Scheduler(look_seconds=3600):

        async def listens() -> bool:
            return bool((await redis.pubsub_numsub("agentplat:schedules"))[0][1])

        await until(listens)
        await scheduled("0 0 1 1 *", "UTC", now() + timedelta(seconds=0.5), db)
        await control.call()
        await until(lambda: firings(db))


async def test_a_scheduler_survives_what_it_is_connected_to(db: Database, redis: Redis) -> None:
    async def all_fired(count: int) -> bool:
        return await firings(db) == count

    async with Scheduler(look_seconds=0.1):
        for number in range(2):
            await cut_from_postgres(db)
            await cut_from_redis(redis, "pubsub")
            await scheduled("0 0 1 1 *", "UTC", now(), db)
            await until(partial(all_fired, number + 1))
