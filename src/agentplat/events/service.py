"""The event bus: Redis Streams, sharded by user. It knows no domain, and it may be lost.

A record is published after the transaction that made it true, so an event never shows what isn't recorded. Whoever
misses a record (Redis was away, the stream was trimmed) notices the hole in `seq` and reads the journal instead.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any
from zlib import crc32

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from agentplat.events.models import RunRecord
from agentplat.infra.redis import connect, redis
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

SHARDS = 8
# Enough for some seconds of the highest rate; longer holes are filled from the journal anyway.
MAX_LENGTH = 20_000
# How long one read waits. Short enough to end a process soon, long enough to cost nothing.
BLOCK_MS = 1000
READ_COUNT = 500
RETRY_SECONDS = 0.5

_log = get_logger(__name__)


def stream_of(user_id: str) -> str:
    return _stream(crc32(user_id.encode()) % SHARDS)


def _stream(shard: int) -> str:
    # The braces are a hash tag: each shard is a slot of its own in a Redis Cluster.
    return f"{get_settings().redis_prefix}:events:{{{shard}}}"


async def publish(records: Sequence[RunRecord], also: Callable[[Pipeline], None] | None = None) -> bool:
    """Publish records in order, in one round trip, after which `also` may add commands. False if Redis can't be
    reached: readers then use the journal."""
    pipe = redis().pipeline(transaction=False)
    for record in records:
        fields: dict[bytes, str | int | bytes] = {
            b"u": record.user_id,
            b"g": record.graph_id,
            b"r": record.run_id,
            b"s": record.seq,
            b"f": int(record.final),
            b"b": record.body,
        }
        if record.handles is not None:
            fields[b"h"] = record.handles
        # Queued, not sent: a pipeline's calls return the pipeline itself.
        pipe.xadd(stream_of(record.user_id), fields, maxlen=MAX_LENGTH)  # type: ignore[arg-type, unused-awaitable]
    if also is not None:
        also(pipe)
    try:
        await pipe.execute()
    except (RedisError, OSError) as error:
        _log.warning("events_not_published", records=len(records), reason=str(error))
        return False
    return True


async def tail() -> AsyncGenerator[list[RunRecord], None]:
    """Every record from now on, in batches, over one connection. Goes on by itself when Redis was away.

    An empty batch says that records may have been missed.
    """
    settings = get_settings()
    assert settings.redis_url is not None  # the process has opened it
    client = connect(settings.redis_url)
    positions: dict[str, str] | None = None
    try:
        while True:
            try:
                if positions is None:
                    positions = await _ends(client)
                    yield []
                batches: Any = await client.xread(positions, count=READ_COUNT, block=BLOCK_MS)  # type: ignore[arg-type]
            except (RedisError, OSError) as error:
                _log.warning("events_not_readable", reason=str(error))
                positions = None
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for name, entries in batches:
                positions[name.decode()] = entries[-1][0].decode()
            records = [_record(fields) for _, entries in batches for _, fields in entries]
            if records:
                yield records
    finally:
        await client.aclose()


async def _ends(client: Redis) -> dict[str, str]:
    """The last id of each stream. `$` would mean "now" anew at every read and lose what comes in between."""
    streams = [_stream(shard) for shard in range(SHARDS)]
    pipe = client.pipeline(transaction=False)
    for stream in streams:
        pipe.xrevrange(stream, count=1)  # type: ignore[unused-awaitable]
    latest = await pipe.execute()
    return {
        stream: entries[0][0].decode() if entries else "0-0" for stream, entries in zip(streams, latest, strict=True)
    }


def _record(fields: dict[bytes, bytes]) -> RunRecord:
    return RunRecord(
        user_id=fields[b"u"].decode(),
        graph_id=fields[b"g"].decode(),
        run_id=fields[b"r"].decode(),
        seq=int(fields[b"s"]),
        final=fields[b"f"] == b"1",
        body=fields[b"b"],
        handles=fields.get(b"h"),
    )
