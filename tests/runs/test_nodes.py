"""Nodes whose worker has trouble of its own."""

import pytest
from redis.asyncio import Redis

from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs.driver import Driver
from tests.support.conditions import until
from tests.support.drawing import OUTPUT, REVIEW, agent, draw
from tests.support.hosting import outcomes, reaching
from tests.support.world import save, start


async def _cut_off(db: Database, statement: str) -> None:
    """Cut the connection on which such a statement waits for a lock, as a restart of Postgres would."""
    cut = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1
    """
    await until(lambda: db.fetchval(cut, statement))


@pytest.mark.parametrize("what", ["sub-run", "review"])
async def test_a_connection_that_breaks_is_nothing_that_a_node_fails_for(
    db: Database, redis: Redis, settings: Settings, what: str
) -> None:
    below = await save(draw({"o": (OUTPUT, {"name": "r", "value": 1})}))
    node = agent(below.id, below.version, {}, "", "r") if what == "sub-run" else (REVIEW, {"name": "n", "data": 1})
    graph = await save(draw({"n": node}))
    run = await start(graph)
    async with Driver(settings) as driver:
        async with db.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE mailboxes IN ACCESS EXCLUSIVE MODE")
            await driver.accept(run.id)  # unless its sweep was quicker
            await _cut_off(db, "%INSERT INTO mailboxes%")
        if what == "review":
            seen = await reaching(run, "REVIEW", "COMPLETED")
            assert outcomes(seen, graph)["n"] == [("REVIEW", {})]
        else:
            (child,) = await _children(db, run.id)
            await driver.accept(child)  # unless its sweep was quicker
            assert outcomes(await reaching(run, "COMPLETED"), graph)["n"] == [("COMPLETED", {"r": [1]})]


async def _children(db: Database, run_id: str) -> list[str]:
    rows = await until(lambda: db.fetch("SELECT id FROM runs WHERE parent_id = $1", run_id))
    return [row["id"] for row in rows]
