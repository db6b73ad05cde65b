"""Jobs of workers that died: each is put back, whatever happens to who puts it back."""

import asyncio
import sys
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from saq.job import Job, Status
from saq.queue.redis import RedisQueue
from saq.utils import now

from agentplat.infra.queue import Queue
from agentplat.infra.settings import Settings
from tests.support.processes import environment

NAME = "{agentplat}:test"
SWEEP = """
import asyncio, sys
from saq.queue.redis import RedisQueue
from agentplat.infra.queue import Queue
from agentplat.infra.redis import connect

kind = {"Queue": Queue, "RedisQueue": RedisQueue}[sys.argv[1]]
asyncio.run(kind(connect(sys.argv[2]), name=sys.argv[3]).sweep(lock=1))
"""


async def dead(queue: RedisQueue, key: str, retries: int = 3) -> Job:
    """A job whose worker was last heard of a minute ago."""
    await queue.enqueue("work", key=key, heartbeat=1, retries=retries, ttl=-1)
    job = await queue.dequeue(timeout=1)
    assert job is not None
    job.attempts, job.started, job.touched = 1, now() - 60_000, now() - 60_000
    await queue.update(job, status=Status.ACTIVE, touched=job.touched)
    await queue.redis.set(job.id, queue.serialize(job))
    return job


async def listed(queue: RedisQueue, kind: str) -> list[str]:
    return [job_id.decode() for job_id in await queue.redis.lrange(queue.namespace(kind), 0, -1)]


@pytest.mark.parametrize(("kind", "lost"), [(Queue, False), (RedisQueue, True)])
async def test_a_sweeper_that_is_killed_loses_no_job(
    redis: Redis, settings: Settings, kind: type[RedisQueue], lost: bool
) -> None:
    """SAQ's own sweep does, which shows that this would be noticed."""
    queue = kind(redis, name=NAME)
    job = await dead(queue, "one")
    sweeper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SWEEP, kind.__name__, str(settings.redis_url), NAME), env=environment()
    )
    async with asyncio.timeout(20):
        while await listed(queue, "active"):
            await asyncio.sleep(0.002)
    with suppress(ProcessLookupError):
        sweeper.kill()
    await sweeper.wait()
    assert await redis.exists(job.id)
    assert (job.id not in await listed(queue, "queued")) is lost


async def test_what_is_put_back_is_done_by_another_worker_and_can_be_asked_for_anew(redis: Redis) -> None:
    queue = Queue(redis, name=NAME)
    job = await dead(queue, "one")
    assert await queue.sweep(lock=1) == [job.id]
    again = await queue.dequeue(timeout=1)
    assert again is not None
    assert again.key == job.key
    await queue.finish(again, Status.COMPLETE)
    assert await redis.keys("*one*") == []
    assert await queue.enqueue("work", key="one") is not None


async def test_what_may_not_be_tried_again_is_forgotten(redis: Redis) -> None:
    queue = Queue(redis, name=NAME)
    job = await dead(queue, "one", retries=1)
    assert await queue.sweep(lock=1) == [job.id]
    assert await redis.keys("*one*") == []
    assert await listed(queue, "active") + await listed(queue, "queued") == []


async def test_a_job_without_a_body_is_taken_out_of_the_lists(redis: Redis) -> None:
    queue = Queue(redis, name=NAME)
    job = await dead(queue, "one")
    await redis.delete(job.id)
    assert await queue.sweep(lock=1) == [job.id]
    assert await listed(queue, "active") == []
    assert await redis.zcard(queue.namespace("incomplete")) == 0


async def test_jobs_of_living_workers_stay_theirs_and_one_sweeps_at_a_time(redis: Redis) -> None:
    queue = Queue(redis, name=NAME)
    await queue.enqueue("work", key="one", heartbeat=60)
    job = await queue.dequeue(timeout=1)
    assert job is not None
    job.started = now()
    await job.update(status=Status.ACTIVE)
    assert await queue.sweep(lock=600) == []
    assert await listed(queue, "active") == [job.id]
    late = await dead(queue, "two")
    assert await queue.sweep(lock=600) == []
    assert 0 < await redis.ttl(queue.namespace("sweep")) <= 600
    await redis.delete(queue.namespace("sweep"))  # as the clock of Redis would
    assert await queue.sweep(lock=1) == [late.id]
