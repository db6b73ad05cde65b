"""Reading as one of a group: every record is handled by one of its members, at least once.

For those who act on events (send a notification, call a webhook) rather than show them. What a member had and did not
finish is taken over by another one. Records that Redis loses are lost to a group, too: what must happen whatever
becomes of Redis needs a sweep of the database besides.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from agentplat.events.streams import Record, all_streams, record_of
from agentplat.events.tail import ANSWER_SECONDS, BLOCK_MS, READ_COUNT, RETRY_SECONDS, own_connection
from agentplat.infra.telemetry import get_logger

# A member that has had a record for so long without finishing it is taken to be dead.
GIVEN_UP_SECONDS = 60.0

Handle = Callable[[Sequence[Record]], Awaitable[object]]

_log = get_logger(__name__)


async def consume(group: str, member: str, handle: Handle, given_up_seconds: float = GIVEN_UP_SECONDS) -> None:
    """Have the group's share of all records handled until cancelled. `handle` gets those of one stream, in order.

    Records that it raises for come again, to whichever member, after `given_up_seconds`. A group begins with what is
    published after its first member came.
    """
    client = own_connection()
    known = False
    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if not known:
                        await _join(client, group)
                        known = True
                    batches = await _abandoned(client, group, member, given_up_seconds)
                    batches = batches or await _next(client, group, member)
            except (RedisError, OSError, TimeoutError) as error:
                # Among these: a Redis that was restarted empty knows no groups.
                _log.warning("events_not_readable", group=group, reason=str(error) or type(error).__name__)
                known = False
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for stream, entries in batches:
                await _handle(client, group, stream, entries, handle)
    finally:
        await client.aclose()


async def _join(client: Redis, group: str) -> None:
    for stream in all_streams():
        try:
            await client.xgroup_create(stream, group, id="$", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


async def _next(client: Redis, group: str, member: str) -> Any:
    streams: dict[Any, Any] = dict.fromkeys(all_streams(), ">")
    return await client.xreadgroup(group, member, streams, count=READ_COUNT, block=BLOCK_MS)


async def _abandoned(client: Redis, group: str, member: str, seconds: float) -> Any:
    pipe = client.pipeline(transaction=False)
    for stream in all_streams():
        pipe.xautoclaim(stream, group, member, min_idle_time=int(seconds * 1000), count=READ_COUNT)  # type: ignore[unused-awaitable]
    answers = await pipe.execute()
    return [(stream, answer[1]) for stream, answer in zip(all_streams(), answers, strict=True) if answer[1]]


async def _handle(client: Redis, group: str, stream: Any, entries: Any, handle: Handle) -> None:
    try:
        await handle([record_of(entry_id, fields) for entry_id, fields in entries if fields])
        await client.xack(stream, group, *(entry_id for entry_id, _ in entries))
    except (RedisError, OSError) as error:
        _log.warning("events_not_acknowledged", group=group, reason=str(error))
    except Exception:
        # A handler's defect must not end the group: its records stay unacknowledged, and are handed out again.
        _log.exception("events_not_handled", group=group)
