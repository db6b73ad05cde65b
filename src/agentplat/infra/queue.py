"""SAQ queues on the process's Redis. A job costs seven round trips, so it is for what is worth them."""

from saq.job import Status
from saq.queue.redis import RedisQueue

from agentplat.infra.redis import redis
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

_log = get_logger(__name__)
_queues: dict[tuple[int, str], "Queue"] = {}


class Queue(RedisQueue):
    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        """Put back the jobs of dead workers, each in one step. Returns their ids. At most one sweep in `lock` seconds.

        SAQ's own first takes such a job out of all lists and waits up to five seconds for its worker to give it up. A
        sweeper that is killed meanwhile leaves it in no list, where nobody ever looks, and its key refuses the same job
        for some seconds more. Here the worker is not asked: jobs are made so that two workers may have the same one.
        """
        if not await self.redis.set(self.namespace("sweep"), 1, nx=True, ex=lock):
            return []
        swept = []
        for listed in await self.redis.lrange(self.namespace("active"), 0, -1):
            job_id = str(listed, "utf-8") if isinstance(listed, bytes) else listed
            job = await self._get_job_by_id(job_id)
            if job is not None and job.status == Status.ACTIVE and not job.stuck:
                continue
            if job is None:
                pipe = self.redis.pipeline(transaction=True)
                pipe.lrem(self.namespace("active"), 0, job_id)  # type: ignore[unused-awaitable]
                pipe.zrem(self.namespace("incomplete"), job_id)  # type: ignore[unused-awaitable]
                await pipe.execute()
            elif job.retryable:
                await self.retry(job, error=self.swept_error_message)
            else:
                await self.finish(job, Status.ABORTED, error=self.swept_error_message)
            swept.append(job_id)
        if swept:
            _log.warning("jobs_of_dead_workers", queue=self.name, jobs=len(swept))
        return swept


def queue(name: str) -> Queue:
    """The queue of that name. The braces are a hash tag: in a Redis Cluster all keys of a queue share one slot."""
    client = redis()
    key = (id(client), name)
    if key not in _queues:
        # A client that was closed is never used again, nor are the queues that were made on it.
        _queues.clear()
        _queues[key] = Queue(client, name=f"{{{get_settings().redis_prefix}}}:{name}")
    return _queues[key]
