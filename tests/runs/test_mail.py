"""Mailboxes: what outlives its run is thrown away, and nothing else."""

import pytest
from redis.asyncio import Redis

from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import driver as drivers
from agentplat.runs import mail
from agentplat.runs.driver import Driver
from tests.support.conditions import until
from tests.support.drawing import STORE, draw
from tests.support.world import save, start

STORED = draw({"a": (STORE, {"input": 1})})


async def left(db: Database) -> set[str]:
    return {row["run_id"] for row in await db.fetch("SELECT run_id FROM mailboxes")}


@pytest.mark.usefixtures("redis")
async def test_mailboxes_of_final_runs_are_closed_slice_by_slice(db: Database) -> None:
    graph = await save(STORED)
    runs = sorted([(await start(graph)).id for _ in range(5)])
    for run_id in runs:
        await mail.open_mailbox(run_id)
    await db.execute("UPDATE runs SET status = 'COMPLETED' WHERE id = ANY($1)", [runs[0], runs[2], runs[4]])
    assert await mail.close_left_open("", 2) == runs[1]
    assert await left(db) == set(runs[1:])
    assert await mail.close_left_open(runs[1], 2) == runs[3]
    assert await mail.close_left_open(runs[3], 2) == ""
    assert await left(db) == {runs[1], runs[3]}


async def test_a_worker_closes_what_another_left_open(
    db: Database, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "MAILBOX_SECONDS", 0.05)
    run = await start(await save(STORED))
    await db.execute("UPDATE runs SET status = 'COMPLETED' WHERE id = $1", run.id)
    await mail.open_mailbox(run.id)

    async def all_closed() -> bool:
        return not await left(db)

    async with Driver(settings):
        await until(all_closed)
