"""Messages to workers: some run waits for its turn, go on with a run, stop a run.

Only shortcuts: what they say is on record, and noticed by the next sweep or heartbeat where Redis lost them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from agentplat.infra.queue import queue
from agentplat.infra.redis import connect, redis
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger
from agentplat.runs.letters import Addressed

_log = get_logger(__name__)

# The name of the queue job that has a worker go on with a certain run.
RESUME = "runs.resume"
# The name of the queue job that has a process execute an isolated node.
NODE = "nodes.execute"
# A job that was not heard of for this long is given to another worker.
JOB_HEARTBEAT_SECONDS = 30
# How many rings are kept that nobody answers, because all workers are full or away.
MAX_RINGS = 1000
# A Redis that hangs must hold up neither a worker that looks for runs itself, nor who waits to be answered.
TELL_SECONDS = 1.0
# How long one answer waits. Only how often an idle worker asks again depends on it.
ANSWER_SECONDS = 5.0


def add_ring(pipe: Pipeline, rings: int = 1) -> None:
    """Have workers look whose turn it is, with what else `pipe` sends. Ringing too often does no harm."""
    # Queued, not sent: a pipeline's calls return the pipeline itself.
    pipe.rpush(_bell(), *["1"] * min(rings, MAX_RINGS))  # type: ignore[unused-awaitable]
    pipe.ltrim(_bell(), -MAX_RINGS, -1)  # type: ignore[unused-awaitable]


async def ring(rings: int = 1) -> None:
    """Have workers look whose turn it is. Their sweeps do so anyway where Redis is away."""
    pipe = redis().pipeline(transaction=False)
    add_ring(pipe, rings)
    try:
        async with asyncio.timeout(TELL_SECONDS):
            await pipe.execute()
    except (RedisError, OSError) as error:  # a TimeoutError is an OSError
        _log.warning("bell_not_rung", rings=rings, reason=str(error))


async def answer(most: int) -> int:
    """The number of rings since the last answer, at most `most`. Of several workers that wait for one, one gets it.
    Zero when there was none for a while."""
    rings: Any = await redis().blmpop(ANSWER_SECONDS, 1, _bell(), direction="LEFT", count=most)
    return 0 if rings is None else len(rings[1])


async def resume(run_id: str) -> None:
    """Put a run that has begun before the workers. Doing so twice does no harm."""
    await _enqueue(RESUME, f"resume-{run_id}", run_id=run_id)


async def offer_node(run_id: str, activation: int, attempt: int) -> None:
    """Have the job of an isolated node taken. Where Redis is away or loses this, the job is found all the same."""
    key = f"node-{run_id}-{activation}-{attempt}"
    try:
        await _enqueue(NODE, key, queue_name="nodes", run_id=run_id, activation=activation)
    except Exception as error:
        # The queue fails in many ways, and the table has the job: a sweep offers it again.
        _log.warning("node_not_offered", run_id=run_id, activation=activation, reason=str(error))


async def _enqueue(job: str, key: str, queue_name: str = "runs", **arguments: str | int) -> None:
    await queue(queue_name).enqueue(
        job, key=key, timeout=0, heartbeat=JOB_HEARTBEAT_SECONDS, retries=3, ttl=-1, **arguments
    )


async def send_stops(run_ids: Sequence[str]) -> None:
    """Tell the holders of runs that their stop was asked for."""
    pipe = redis().pipeline(transaction=False)
    for run_id in run_ids:
        # Queued, not sent: a pipeline's calls return the pipeline itself.
        pipe.publish(_channel(), f"stop {run_id}")  # type: ignore[unused-awaitable]
    async with asyncio.timeout(TELL_SECONDS):
        await pipe.execute()


async def send_mail(run_id: str) -> None:
    """Tell the holder of a run that there is mail for it."""
    await redis().publish(_channel(), f"mail {run_id}")


async def call_for_mail(letters: Sequence[Addressed], asleep: Sequence[str]) -> None:
    """Have runs take the mail that was just delivered to them: their holders, or whoever takes those that nobody holds.

    Where Redis is away they take it with the next heartbeat, or when they are found by the next sweep.
    """
    try:
        for run_id in dict.fromkeys(one.run_id for one in letters):
            async with asyncio.timeout(TELL_SECONDS):
                await (resume(run_id) if run_id in asleep else send_mail(run_id))
    except Exception as error:
        # The letters are committed; whoever they are for takes them without being told, only later.
        _log.warning("mail_not_announced", letters=len(letters), reason=str(error))


async def hear() -> AsyncIterator[tuple[str, str]]:
    """Verb ("stop", "mail") and run id of every message from now on. Ends with an error when Redis goes away."""
    settings = get_settings()
    assert settings.redis_url is not None  # the process has opened it
    client = connect(settings.redis_url)
    try:
        async with client.pubsub() as subscription:
            await subscription.subscribe(_channel())
            async for message in subscription.listen():
                if message["type"] == "message":
                    verb, _, run_id = message["data"].decode().partition(" ")
                    yield verb, run_id
    finally:
        await client.aclose()


def _channel() -> str:
    return f"{get_settings().redis_prefix}:control"


def _bell() -> str:
    return f"{get_settings().redis_prefix}:bell"
