"""Reading every record from now on: what a process does that shows runs to people."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from agentplat.events.models import RunRecord
from agentplat.events.streams import Record, all_streams, records_of
from agentplat.infra.redis import connect
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

# How long one read waits. Short enough to end a process soon, long enough to cost nothing.
BLOCK_MS = 1000
READ_COUNT = 500
RETRY_SECONDS = 0.5
# A read that has no answer by then has none to expect: the server hangs, or the connection is a dead one.
ANSWER_SECONDS = BLOCK_MS / 1000 + 4

_log = get_logger(__name__)


def own_connection() -> Redis:
    """For reads that block. Nothing is tried again behind our back: a restart may have lost records, so it must show"""
    settings = get_settings()
    assert settings.redis_url is not None  # the process has opened it
    client = connect(settings.redis_url)
    client.set_retry(Retry(NoBackoff(), 0))
    return client


async def tail() -> AsyncGenerator[list[RunRecord], None]:
    """Every record of a run from now on, in batches. An empty batch says that records may have been missed."""
    async for batch in follow():
        records = [record for record in batch if isinstance(record, RunRecord)]
        if records or not batch:
            yield records


async def follow() -> AsyncGenerator[list[Record], None]:
    """Everything from now on, in batches, over one connection. Goes on by itself when Redis was away.

    An empty batch says that records may have been missed. It comes when the place to read on from is fixed, so what is
    published after it is read.
    """
    client = own_connection()
    positions: dict[str, str] | None = None
    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if positions is None:
                        found = await _ends(client)
                    else:
                        batches: Any = await client.xread(positions, count=READ_COUNT, block=BLOCK_MS)  # type: ignore[arg-type]
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("events_not_readable", reason=str(error) or type(error).__name__)
                positions = None
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if positions is None:
                positions = found
                yield []
                continue
            for name, entries in batches:
                positions[name.decode()] = entries[-1][0].decode()
            if records := records_of(batches):
                yield records
    finally:
        await client.aclose()


async def _ends(client: Redis) -> dict[str, str]:
    """The last id of each stream. `$` would mean "now" anew at every read and lose what comes in between."""
    streams = all_streams()
    pipe = client.pipeline(transaction=False)
    for stream in streams:
        pipe.xrevrange(stream, count=1)  # type: ignore[unused-awaitable]
    latest = await pipe.execute()
    return {
        stream: entries[0][0].decode() if entries else "0-0" for stream, entries in zip(streams, latest, strict=True)
    }
