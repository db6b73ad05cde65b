"""Hundreds of runs of one user, and one of somebody else."""

import asyncio
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs.driver import Driver
from tests.support.client import User as Client
from tests.support.conditions import until
from tests.support.drawing import SLOW, STORE, draw
from tests.support.world import BOB, save, start

QUICK = draw({"a": (STORE, {"input": 1})})


async def test_a_user_with_one_run_is_not_behind_a_flood(db: Database, redis: Redis, settings: Settings) -> None:
    """The worker is full and hundreds wait, with a ring each; the other user gets one of the next places."""
    flood = [await save(draw({"s": (SLOW, {"v": 1, "delay": 0.05})})) for _ in range(15)]
    bobs = await save(QUICK, BOB)
    for n in range(300):
        await start(flood[n % 15])
    ended = "SELECT count(*) FROM runs WHERE user_id = 'ann' AND status = 'COMPLETED'"
    # Whoever chooses after Bob's run was accepted sees it. Those that are chosen together begin at the same moment.
    before_his = """
        SELECT count(*) FROM runs ann JOIN runs bob ON bob.id = $1
        WHERE ann.user_id = 'ann' AND ann.started_at > $2 AND ann.started_at < bob.started_at
    """
    async with Driver(replace(settings, worker_concurrency=8)) as driver:
        driver.look(300)
        await until(lambda: db.fetchval(f"SELECT ({ended}) >= 20"))
        run = await start(bobs, BOB)
        accepted = now()
        await until(lambda: db.fetchval("SELECT status = 'COMPLETED' FROM runs WHERE id = $1", run.id))
        assert await db.fetchval(before_his, run.id, accepted) == 0
        await until(lambda: db.fetchval(f"SELECT ({ended}) >= 300"))
    assert Counter(row["status"] for row in await db.fetch("SELECT status FROM runs")) == {"COMPLETED": 301}


async def test_a_flood_does_not_delay_another_users_run(base_url: str, make_token: Callable[..., str]) -> None:
    """Hundreds of runs that last longer than anybody waits: 25 have all places, and their rings are before Bob's."""
    lasting = draw({"s": (SLOW, {"v": 1, "delay": 600})})
    async with (
        Client(base_url, make_token(f"flood-{uuid4()}")) as flood,
        Client(base_url, make_token(f"single-{uuid4()}")) as single,
    ):
        theirs, _ = await flood.create(lasting)
        mine, _ = await single.create(QUICK)
        execute = "/api/graphs/{id}/execute/{version}"
        runs = []
        for _ in range(8):
            answers = await asyncio.gather(*(flood.http.post(execute.format(**theirs), json={}) for _ in range(25)))
            runs += [answer.json() for answer in answers]
        try:
            answer = await single.http.post(execute.format(**mine), json={}, headers={"Prefer": "wait=60"})
            assert answer.json()["status"] == "COMPLETED"
            waiting = await flood.look(runs[-1])
            assert waiting["status"] == "QUEUED"
            assert waiting["stats"]["queue_position"] >= 1
        finally:
            stopped = await asyncio.gather(*(flood.stop(run) for run in reversed(runs)))
        assert {one["status"] for one in stopped} == {"TERMINATED"}
