"""What nobody owns is found, and what somebody owns is not."""

from redis.asyncio import Redis

from agentplat.infra.db import Database
from agentplat.runs import control, mail
from tests.faults.leftovers import in_mailboxes, in_redis, lasting
from tests.support.drawing import STORE, draw
from tests.support.world import save, start

GRAPH = draw({"a": (STORE, {"input": 1})})


async def test_jobs_in_a_list_belong_to_the_queue_and_others_to_nobody(redis: Redis) -> None:
    await control.resume("some-run")
    assert await in_redis(redis) == set()
    (queued,) = [key async for key in redis.scan_iter("*:queued")]
    await redis.delete(queued)
    (found,) = await in_redis(redis)
    assert "resume-some-run is in no list" in found


async def test_a_key_that_stays_for_ever_is_found(redis: Redis) -> None:
    await redis.set("agentplat:passing", 1, ex=60)
    assert await in_redis(redis) == set()
    await redis.set("agentplat:forgotten", 1)
    (found,) = await in_redis(redis)
    assert "agentplat:forgotten belongs to nobody" in found


async def test_mailboxes_of_final_runs_are_found(db: Database, redis: Redis) -> None:
    run = await start(await save(GRAPH))
    await mail.open_mailbox(run.id)
    assert await in_mailboxes() == set()
    await db.execute("UPDATE runs SET status = 'COMPLETED' WHERE id = $1", run.id)
    (found,) = await in_mailboxes()
    assert "is COMPLETED, and its mailbox is still there" in found


async def test_only_what_stays_is_reported() -> None:
    seen = [{"passing", "staying"}, {"staying", "later"}]

    async def look() -> set[str]:
        return seen.pop(0) if len(seen) > 1 else seen[0]

    assert await lasting(look, 0.001) == ["staying"]
