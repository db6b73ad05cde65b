"""Lists of runs: the same pages whether or not ranks are on record, and always those of a plain sort."""

import asyncio
import random
from typing import Any

import pytest
from redis.asyncio import Redis

from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.runs import listing, queries
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.statements import said

MANY = 7300


@pytest.fixture
async def graph(api: Api) -> dict[str, Any]:
    return await created(api("ann"))


async def add_runs(db: Database, graph: dict[str, Any], runs: int, since: str = "2 days") -> None:
    """Runs of Ann's, one second after the other but every fifth at the same time as the one before."""
    await db.execute(
        """
        INSERT INTO runs (id, user_id, graph_id, graph_version, root_id, status, request, created_at, deadline)
        SELECT gen_random_uuid()::text, 'ann', $1, 1, '', 'COMPLETED',
            '{"shown":{},"credential_inputs":{},"nodes_input_masks":{}}',
            now() - $3::text::interval + interval '1 second' * (n - (n % 5 = 0)::int), now()
        FROM generate_series(1, $2) AS n
        """,
        graph["id"],
        runs,
        since,
    )


async def in_order(db: Database) -> list[str]:
    rows = await db.fetch("SELECT id FROM runs WHERE NOT is_deleted ORDER BY created_at DESC, id DESC")
    return [row["id"] for row in rows]


async def check_pages(db: Database, graph: dict[str, Any], *offsets: int) -> None:
    expected = await in_order(db)
    for offset in offsets:
        rows, total = await listing.of_graph("ann", graph["id"], offset, 25)
        assert (offset, [row.id for row in rows], total) == (offset, expected[offset : offset + 25], len(expected))


async def marks(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM run_marks"))


async def test_pages_are_those_of_a_plain_sort(db: Database, graph: dict[str, Any]) -> None:
    await check_pages(db, graph, 0, 25)
    await add_runs(db, graph, MANY)
    offsets = (0, 10, 299, 300, 301, 1300, 2301, 6290, 6301, MANY - 25, MANY - 1, MANY, MANY + 1, 10**11)
    await check_pages(db, graph, *offsets)
    assert await marks(db) == MANY // listing.STEP
    await check_pages(db, graph, *offsets)
    await add_runs(db, graph, 500, "1 hour")
    await check_pages(db, graph, *offsets)


async def test_what_is_hidden_is_not_counted(api: Api, db: Database, graph: dict[str, Any]) -> None:
    await add_runs(db, graph, MANY)
    await check_pages(db, graph, 0)
    marked = [row["id"] for row in await db.fetch("SELECT id FROM run_marks ORDER BY rank")]
    ann, chosen = api("ann"), random.Random(7)
    for run_id in [marked[0], marked[-1], *chosen.sample(await in_order(db), 20)]:
        assert (await ann.delete(f"/api/executions/{run_id}")).status_code in (204, 404)
    assert await marks(db) <= len(marked) - 2
    await check_pages(db, graph, 0, 280, 1300, 3001, MANY - 30, MANY)
    assert (await api("bob").delete(f"/api/executions/{marked[1]}")).status_code == 404
    await check_pages(db, graph, 3001)


async def test_hiding_and_marking_at_once_keep_the_ranks(db: Database, graph: dict[str, Any]) -> None:
    await add_runs(db, graph, MANY)
    gone = random.Random(3).sample(await in_order(db), 40)
    look = (listing.of_graph("ann", graph["id"], 5000, 25) for _ in range(20))
    done = await asyncio.gather(*(listing.hide("ann", run_id) for run_id in gone), *look)
    assert all(done)
    await check_pages(db, graph, 0, 1000, 2500, 5000, 7000)
    ranked = await db.fetch(
        """
        SELECT rank, (SELECT count(*) FROM runs r WHERE NOT is_deleted AND (r.created_at, r.id) <= (m.created_at, m.id))
            AS counted FROM run_marks m
        """
    )
    assert ranked
    assert all(row["rank"] == row["counted"] for row in ranked)


async def test_what_may_still_be_overtaken_is_not_marked(db: Database, graph: dict[str, Any]) -> None:
    await add_runs(db, graph, 4000, "1 minute")
    await check_pages(db, graph, 0, 3000)
    assert await marks(db) == 0


async def test_marks_go_with_their_graph(api: Api, db: Database, graph: dict[str, Any]) -> None:
    await add_runs(db, graph, MANY)
    await check_pages(db, graph, 0)
    assert await marks(db)
    assert (await api("ann").delete(f"/api/graphs/{graph['id']}")).json() == {"version_counts": 1}
    assert await marks(db) == 0


async def test_a_users_list_goes_on_where_it_ended(api: Api, db: Database, graph: dict[str, Any]) -> None:
    ann = api("ann")
    await add_runs(db, graph, 60)
    expected = await in_order(db)
    assert [run["id"] for run in (await ann.get("/api/executions")).json()] == expected
    seen: list[str] = []
    while page := (await ann.get("/api/executions", params={"page_size": 25, "before": seen[-1:]})).json():
        seen += [run["id"] for run in page]
        # The run that the next page begins behind may be hidden meanwhile.
        await ann.delete(f"/api/executions/{seen[-1]}")
    assert seen == expected


async def test_lists_leave_out_what_is_large(api: Api, db: Database, redis: Redis, graph: dict[str, Any]) -> None:
    await queries.ensure_partition(now().date())  # as workers do
    ann = api("ann")
    runs = []
    for words in ("short", "long" * 20_000):
        answer = await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={"inputs": {"said": words}})
        assert answer.json()["inputs"] == {"said": words}
        runs.append(answer.json())
    short, long = runs
    listed = (await ann.get("/api/executions")).json()
    paged = (await ann.get(f"/api/graphs/{graph['id']}/executions")).json()["executions"]
    read = (await ann.post("/api/executions/bulk/read", json={"ids": [long["id"], short["id"]]})).json()["results"]
    left_out = dict.fromkeys(("inputs", "credential_inputs", "nodes_input_masks"))
    for one, other in (listed, paged, [result["run"] for result in read]):
        assert (one["id"], other["id"]) == (long["id"], short["id"])
        assert one == long | left_out
        assert other == short
    whole = (await ann.get(f"/api/graphs/{graph['id']}/executions/{long['id']}")).json()
    assert whole["inputs"] == long["inputs"]
    stopped = (await ann.post(f"/api/graphs/{graph['id']}/executions/{long['id']}/stop")).json()
    assert (stopped["status"], stopped["inputs"]) == ("TERMINATED", None)


@pytest.mark.parametrize("run_id", [NOBODYS_ID, "x", "", "\x00"])
async def test_a_list_can_not_go_on_behind_what_is_not_there(api: Api, graph: dict[str, Any], run_id: str) -> None:
    answer = await api("ann").get("/api/executions", params={"before": run_id})
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


@pytest.mark.parametrize(
    ("path", "name", "most"),
    [("/api/executions", "page_size", 250), (f"/api/graphs/{NOBODYS_ID}/executions", "page_size", 100)],
)
async def test_pages_are_bounded(api: Api, path: str, name: str, most: int) -> None:
    ann = api("ann")
    assert (await ann.get(path, params={name: most})).status_code == 200
    for value in (0, -1, most + 1, "many"):
        refused = await ann.get(path, params={name: value})
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", name])


async def test_a_page_is_one_statement_that_looks_at_few_rows(db: Database, graph: dict[str, Any]) -> None:
    """Whatever its number, and with the indexes that are there for it."""
    await add_runs(db, graph, 60_000)
    await check_pages(db, graph, 0)
    await db.execute("ANALYZE runs, run_marks")
    with said() as statements:
        await listing.of_graph("ann", graph["id"], 50_000, 25)
        await listing.of_user("ann", 25, before=(await in_order(db))[50_000])
    of_graph, _, of_user = statements
    for statement, arguments in (
        (of_graph, ("ann", graph["id"], 50_000, 25)),
        (of_user, ("ann", 25, (await in_order(db))[50_000])),
    ):
        rows = await db.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on runs" not in plan, plan
        touched = [int(float(line.split("rows=")[1].split()[0])) for line in plan.splitlines() if "on runs" in line]
        assert touched, plan
        assert max(touched) <= listing.STEP + 25, plan
