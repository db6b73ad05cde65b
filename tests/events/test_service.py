"""The bus on a real Redis: order, bounds, readers that come and go."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.events import service as events
from agentplat.events.groups import consume
from agentplat.events.models import Notification, RunRecord
from agentplat.events.streams import MAX_BODY, Record, stream_of
from agentplat.infra.redis import close_redis, connect, open_redis
from agentplat.infra.settings import Settings
from tests.support.conditions import PATIENCE_SECONDS, connections_at, until
from tests.support.serving import serving


def record(number: int, body: bytes = b"[]", user_id: str = "ann") -> RunRecord:
    return RunRecord(user_id=user_id, graph_id="g", run_id="r", seq=number, body=body)


async def test_records_and_notifications_arrive_in_order(redis: Redis) -> None:
    following = events.follow()
    assert await anext(following) == []
    before = time.time()
    sent: list[Record] = [record(1), record(2, b"[1]")]
    assert await events.publish([one for one in sent if isinstance(one, RunRecord)])
    assert await events.notify("ann", {"type": "t", "event": "e"})
    got: list[Record] = []
    while len(got) < 3:
        got += await asyncio.wait_for(anext(following), PATIENCE_SECONDS)
    await following.aclose()
    assert [one.seq for one in got if isinstance(one, RunRecord)] == [1, 2]
    assert got[-1] == Notification(user_id="ann", payload=b'{"type":"t","event":"e"}')
    first = got[0]
    assert isinstance(first, RunRecord)
    assert before - 0.001 <= first.published <= time.time()  # it is told in whole milliseconds


async def test_a_large_body_stays_out_of_the_stream(redis: Redis) -> None:
    following = events.tail()
    assert await anext(following) == []
    assert await events.publish([record(1, b"x" * MAX_BODY), record(2, b"x" * (MAX_BODY + 1))])
    got: list[RunRecord] = []
    while len(got) < 2:
        got += await asyncio.wait_for(anext(following), PATIENCE_SECONDS)
    await following.aclose()
    assert [one.body is None for one in got] == [False, True]


async def test_streams_are_bounded_in_length_and_age(redis: Redis) -> None:
    old = int((time.time() - 2 * events.MAX_AGE_SECONDS) * 1000)
    for number in range(300):
        await redis.xadd(stream_of("ann"), {"n": "{}", "u": "ann"}, id=f"{old}-{number + 1}")
    assert await events.publish([record(1)])
    assert await redis.xlen(stream_of("ann")) < 300
    for _ in range(2 * events.MAX_LENGTH // 1000):
        assert await events.publish([record(1)] * 1000)
    # Whole nodes of the stream are dropped, of a hundred entries each.
    assert events.MAX_LENGTH <= await redis.xlen(stream_of("ann")) < events.MAX_LENGTH + 1000


async def test_a_group_shares_what_there_is_and_takes_over_from_the_dead(redis: Redis) -> None:
    handled: dict[str, list[int]] = {"one": [], "two": []}
    stuck = asyncio.Event()

    async def handle(member: str, records: Sequence[Record]) -> None:
        if member == "one" and stuck.is_set():
            await asyncio.Event().wait()
        handled[member] += [one.seq for one in records if isinstance(one, RunRecord)]

    async def both_read() -> bool:
        return await connections_at(redis, "xreadgroup") == 2

    members = [
        asyncio.create_task(consume("mail", name, lambda records, name=name: handle(name, records), 0.3))
        for name in handled
    ]
    try:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            await until(both_read)
            for number in range(100):
                assert await events.publish([record(number, user_id=f"user {number}")])
                if number == 50:
                    stuck.set()
            await until(lambda: len(set(handled["one"] + handled["two"])) == 100)
        assert sorted(set(handled["one"] + handled["two"])) == list(range(100))
        assert handled["two"]
    finally:
        for member in members:
            member.cancel()
            with suppress(asyncio.CancelledError):
                await member


async def test_a_redis_that_hangs_holds_up_nobody_who_has_something_to_show(settings: Settings) -> None:
    """It was there when this process began, and then answers nobody any more, without hanging up."""
    assert settings.redis_url is not None
    behind = connect(settings.redis_url).connection_pool.connection_kwargs
    hanging = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "path" in behind:
            answers, asked = await asyncio.open_unix_connection(behind["path"])
        else:
            answers, asked = await asyncio.open_connection(behind["host"], behind["port"])

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while (piece := await source.read(65536)) and not hanging.is_set():
                sink.write(piece)
                await sink.drain()
            await source.read()

        try:
            await asyncio.gather(pass_on(reader, asked), pass_on(answers, writer))
        finally:
            asked.close()
            await asked.wait_closed()

    async with serving(relay) as port:
        await open_redis(replace(settings, redis_url=f"redis://127.0.0.1:{port}/{behind['db']}"))
        hanging.set()
        try:
            async with asyncio.timeout(60):
                assert not await events.notify("ann", {"type": "t", "event": "e"})
        finally:
            await close_redis()
