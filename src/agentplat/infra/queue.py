"""SAQ queues on the process's Redis. One job per run, not per node unless that is isolated: a job costs seven round
trips."""

from saq.queue.redis import RedisQueue

from agentplat.infra.redis import redis
from agentplat.infra.settings import get_settings

_queues: dict[tuple[int, str], RedisQueue] = {}


def queue(name: str) -> RedisQueue:
    """The queue of that name. The braces are a hash tag: in a Redis Cluster all keys of a queue share one slot."""
    client = redis()
    key = (id(client), name)
    if key not in _queues:
        # A client that was closed is never used again, nor are the queues that were made on it.
        _queues.clear()
        _queues[key] = RedisQueue(client, name=f"{{{get_settings().redis_prefix}}}:{name}")
    return _queues[key]
