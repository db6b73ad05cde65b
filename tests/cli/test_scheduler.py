"""`agentplat scheduler` as a process."""

import asyncio
import signal
import sys

import httpx
from redis.asyncio import Redis

from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.schedules import service
from agentplat.schedules.models import CreateSchedule
from tests.support.conditions import until
from tests.support.drawing import STORE, draw
from tests.support.processes import agentplat, environment, free_port
from tests.support.world import ANN, save


async def test_it_fires_shows_numbers_and_ends_when_told_to(db: Database, redis: Redis) -> None:
    graph = await save(draw({"s": (STORE, {"input": 1})}))
    made = await service.create(ANN, graph.id, CreateSchedule(name="test", cron="0 0 1 1 *", inputs={}))
    await db.execute("UPDATE schedules SET next_run_at = $1", now())
    port = free_port()
    command = [sys.executable, "-m", "agentplat", "scheduler", "--metrics-port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, env=environment())
    try:
        async with httpx.AsyncClient() as client:

            async def fired() -> bool:
                return (await service.get(ANN, made.id)).last_run_id is not None

            async def counted() -> bool:
                page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                return 'agentplat_schedule_firings_total{outcome="started"} 1.0' in page

            await until(fired)
            await until(counted)
    finally:
        process.send_signal(signal.SIGTERM)
        status = await process.wait()
    assert status == 0
    assert await db.fetchval("SELECT count(*) FROM runs") == 1


def test_without_a_database_it_says_so() -> None:
    refused = agentplat("scheduler", env=environment(DATABASE_URL="", REDIS_URL=""))
    assert refused.returncode == 1
    assert "DATABASE_URL is not set" in refused.stderr
