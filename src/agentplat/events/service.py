"""The event bus: Redis Streams, sharded by user. It knows no domain, and it may be lost.

A record is published after the transaction that made it true, so an event never shows what isn't recorded. Whoever
misses a record (Redis was away, the stream was trimmed) notices the hole in `seq` and reads the journal instead.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import time
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from agentplat.events.models import Notification, RunRecord
from agentplat.events.streams import Record, all_streams, fields_of, stream_of
from agentplat.events.tail import RETRY_SECONDS, follow, tail
from agentplat.infra.redis import redis
from agentplat.infra.telemetry import get_logger

# Enough for some seconds of the highest rate; longer holes are filled from the journal anyway.
MAX_LENGTH = 20_000
# What is older is trimmed by whoever publishes next, at most once in a while: a stream that has gone quiet is small.
MAX_AGE_SECONDS = 120
TRIM_SECONDS = 10
# A Redis that hangs must not hold up whoever has something to show.
NOTIFY_SECONDS = 3.0

__all__ = ["RETRY_SECONDS", "follow", "notify", "publish", "tail"]

_encode = msgspec.json.Encoder().encode
_log = get_logger(__name__)
_trimmed_at: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()


async def publish(records: Sequence[RunRecord], also: Callable[[Pipeline], None] | None = None) -> bool:
    """Publish records in order, in one round trip, after which `also` may add commands. False if Redis can't be
    reached: readers then use the journal."""
    return await _add(records, also)


async def notify(user_id: str, *payloads: dict[str, Any]) -> bool:
    """Show something to every open socket of a user. A payload has at least `type` and `event`. False if it is lost."""
    try:
        async with asyncio.timeout(NOTIFY_SECONDS):
            return await _add([Notification(user_id=user_id, payload=_encode(payload)) for payload in payloads])
    except TimeoutError:
        _log.warning("events_not_published", records=len(payloads), reason="Redis does not answer")
        return False


async def _add(records: Sequence[Record], also: Callable[[Pipeline], None] | None = None) -> bool:
    client = redis()
    pipe = client.pipeline(transaction=False)
    # Queued, not sent: a pipeline's calls return the pipeline itself.
    for record in records:
        pipe.xadd(stream_of(record.user_id), fields_of(record), maxlen=MAX_LENGTH)  # type: ignore[arg-type, unused-awaitable]
    if also is not None:
        also(pipe)
    if (moment := time()) - _trimmed_at.get(client, 0.0) > TRIM_SECONDS:
        _trimmed_at[client] = moment
        for stream in all_streams():
            pipe.xtrim(stream, minid=str(int((moment - MAX_AGE_SECONDS) * 1000)))  # type: ignore[unused-awaitable]
    try:
        await pipe.execute()
    except (RedisError, OSError) as error:
        _log.warning("events_not_published", records=len(records), reason=str(error))
        return False
    return True
