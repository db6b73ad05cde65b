"""Who may begin, in which order, and how many at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.accounts.models import User
from agentplat.engine.state import Status
from agentplat.graphs.models import GraphModel
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries, service, turns
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunRow
from tests.support.conditions import until
from tests.support.drawing import GATE, INPUT, OUTPUT, SLOW, STORE, agent, draw
from tests.support.gates import Gate
from tests.support.hosting import final, look, outcomes, reaching
from tests.support.world import ANN, BOB, save, start

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)
QUICK = draw({"a": (STORE, {"input": 1})})
LASTING = draw({"s": (SLOW, {"v": 1, "delay": 60})})
CAT = User(id="cat", email="cat@example.com")

pytestmark = pytest.mark.usefixtures("redis")


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(replace(settings, max_runs_per_graph=3, lease_seconds=60), sweeps=False) as one:
        yield one


async def queue(graph: GraphModel, count: int, user: User = ANN) -> list[str]:
    return [(await start(graph, user)).id for _ in range(count)]


async def next_after(served: str, places: int = 25, owner: str = "w") -> RunRow | None:
    rows = (await turns.claim_next(served, places, owner, LEASE, now())).rows
    return rows[0] if rows else None


async def order(places: int = 25, served: str = "") -> list[RunRow]:
    """All that may begin, in the order in which one worker takes them."""
    taken: list[RunRow] = []
    while row := await next_after(served, places):
        served = row.user_id
        taken.append(row)
    return taken


async def end(row: RunRow) -> None:
    assert await queries.fail(row.id, row.fence, b"{}", now())


async def status_of(run_id: str) -> str:
    row = await queries.find(run_id)
    assert row is not None
    return row.status


# The order


async def test_users_take_turns_and_each_is_served_in_order_of_acceptance(db: Database) -> None:
    graphs = {user.id: await save(QUICK, user) for user in (ANN, BOB, CAT)}
    waiting = {
        "ann": await queue(graphs["ann"], 4),
        "bob": await queue(graphs["bob"], 1, BOB),
        "cat": await queue(graphs["cat"], 2, CAT),
    }
    taken = await order(served="ann")
    assert [row.user_id for row in taken] == ["bob", "cat", "ann", "cat", "ann", "ann", "ann"]
    for user, ids in waiting.items():
        assert [row.id for row in taken if row.user_id == user] == ids
    assert {row.status for row in taken} == {Status.RUNNING}
    assert {row.fence for row in taken} == {1}


async def test_a_graph_that_is_full_holds_up_neither_others_nor_other_users(db: Database) -> None:
    full, free = await save(QUICK), await save(QUICK)
    bobs = await save(QUICK, BOB)
    flood = await queue(full, 10)
    late = await queue(free, 1)
    other = await queue(bobs, 1, BOB)
    assert [row.id for row in await order(places=2)] == [flood[0], *other, flood[1], *late]
    assert [await status_of(one) for one in flood[2:]] == ["QUEUED"] * 8


async def test_a_place_that_is_given_back_goes_to_the_longest_waiting(db: Database) -> None:
    ids = await queue(await save(QUICK), 4)
    first, second = await order(places=2)
    assert {first.place, second.place} == {1, 2}
    await end(second)
    (third,) = await order(places=2)
    assert (third.id, third.place) == (ids[2], second.place)
    assert await turns.claim(ids[3], "w", LEASE, now(), 2) is None


async def test_sub_runs_come_first_and_need_no_place(db: Database) -> None:
    graph = await save(QUICK)
    parent, waits, below = await queue(graph, 3)
    assert [row.id for row in await order(places=1)] == [parent]
    await db.execute("UPDATE runs SET parent_id = $2 WHERE id = $1", below, parent)
    (row,) = await order(places=1)
    assert (row.id, row.place) == (below, None)
    assert await status_of(waits) == "QUEUED"
    assert await turns.claim(waits, "w", LEASE, now(), 1) is None


async def batch(most: int, served: str = "", places: int = 25, owner: str = "w") -> turns.Turns:
    return await turns.claim_next(served, places, owner, LEASE, now(), most)


async def test_several_at_once_are_those_that_would_be_taken_one_by_one(db: Database) -> None:
    """Users in turn, graphs within their places, sub-runs first, each graph in order of acceptance."""
    graphs = [await save(QUICK), await save(QUICK)]
    bobs, cats = await save(QUICK, BOB), await save(QUICK, CAT)
    for graph, count, user in [(graphs[0], 4, ANN), (graphs[1], 2, ANN), (bobs, 1, BOB), (cats, 4, CAT)]:
        ids = await queue(graph, count, user)
    await db.execute("UPDATE runs SET parent_id = id, status = 'QUEUED' WHERE id = $1", ids[3])
    singly = await order(places=2, served="bob")
    await db.execute("UPDATE runs SET status = 'QUEUED', place = NULL, fence = 0, lease_until = NULL")
    together: list[RunRow] = []
    served, more = "bob", True
    while more:
        taken = await batch(4, served, places=2)
        together, served, more = together + taken.rows, taken.served, taken.more
    assert [row.user_id for row in together] == ["cat", "ann", "bob", "cat", "ann", "cat", "ann", "ann"]
    assert [row.id for row in together] == [row.id for row in singly]
    assert Counter((row.graph_id, row.place) for row in together) == Counter(
        (row.graph_id, row.place) for row in singly
    )


# The limit


async def test_many_claims_at_once_never_exceed_the_limit(db: Database) -> None:
    """By turns and by name, of several workers, while runs end: at no time are there more than places."""
    graph = await save(QUICK)
    ids = await queue(graph, 40)
    running: set[str] = set()
    for _ in range(8):
        claims = [next_after("", 5, f"w{n}") for n in range(6)]
        claims += [turns.claim(one, "x", LEASE, now(), 5) for one in ids[::4]]
        rows = [row for row in await asyncio.gather(*claims) if row is not None]
        assert not running & {row.id for row in rows}
        running |= {row.id for row in rows}
        now_running = await db.fetch("SELECT place FROM runs WHERE status = 'RUNNING'")
        assert sorted(row["place"] for row in now_running) == [1, 2, 3, 4, 5]
        for row in rows[:3]:
            await end(row)
    assert len(running) >= 5 + 7 * 3


async def test_every_claim_at_once_finds_a_run_while_there_are_enough(db: Database) -> None:
    """Nobody goes away with nothing because somebody else was just taking the head of the lane."""
    await queue(await save(QUICK), 12)
    rows = await asyncio.gather(*(next_after("", 25, f"w{n}") for n in range(12)))
    assert len({row.id for row in rows if row is not None}) == 12


async def test_batches_of_many_workers_at_once_stay_within_the_places_and_starve_nobody(db: Database) -> None:
    """Workers of several sizes take what they can while runs end, until nothing is left."""
    graphs = [
        (await save(QUICK), ANN),
        (await save(QUICK), ANN),
        (await save(QUICK, BOB), BOB),
        (await save(QUICK), ANN),
    ]
    ids = {one for graph, user in graphs for one in await queue(graph, 30 if user is ANN else 6, user)}
    fences: Counter[int] = Counter()
    claimed: list[str] = []
    bobs_last = 0

    async def work(owner: str, most: int) -> None:
        nonlocal bobs_last
        served, more = "", True
        while True:
            served, more = (taken := await batch(most, served, 5, owner)).served, taken.more
            claimed.extend(row.id for row in taken.rows)
            fences.update(row.fence for row in taken.rows)
            if any(row.user_id == BOB.id for row in taken.rows):
                bobs_last = len(claimed)
            running = await db.fetch(
                "SELECT count(*), max(place) FROM runs WHERE status = 'RUNNING' GROUP BY user_id, graph_id"
            )
            assert all(number <= 5 and last <= 5 for number, last in running)
            for row in taken.rows:
                await end(row)
            if not taken.rows and not more and len(claimed) == len(ids):
                return

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(f"w{most}-{n}", most) for n in range(2) for most in (1, 3, 8, 16)))
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == ids
    assert set(fences) == {1}
    assert bobs_last < len(ids) / 2  # his six, among ninety of Ann's


async def test_a_run_keeps_its_place_over_a_crash_and_has_none_in_review(db: Database) -> None:
    graph = await save(QUICK)
    first, second = await queue(graph, 2)
    claimed = await turns.claim(first, "w1", OVER, now(), 1)
    assert claimed is not None
    again = await turns.claim(first, "w2", LEASE, now(), 1)
    assert again is not None
    assert again.place == claimed.place == 1
    await db.execute("UPDATE runs SET status = 'REVIEW', lease_until = NULL WHERE id = $1", first)
    assert [row.id for row in await order(places=1)] == [second]
    # It waits for a place as everybody does, though it comes first.
    await db.execute("UPDATE runs SET status = 'QUEUED' WHERE id = $1", first)
    assert await turns.claim(first, "w", LEASE, now(), 1) is None
    assert await turns.claim(first, "w", LEASE, now(), 2) is not None


@pytest.mark.parametrize("members", ["stop_requested_at = now()", "deadline = now() - interval '1 second'"])
async def test_what_only_has_to_end_needs_no_place_and_is_found(db: Database, members: str) -> None:
    first, second, third = await queue(await save(QUICK), 3)
    assert await turns.claim(first, "w", LEASE, now(), 1) is not None
    assert await queries.find_stranded(10) == []
    await db.execute(f"UPDATE runs SET {members} WHERE id = $1", second)
    assert await queries.find_stranded(10) == [second]
    row = await turns.claim(second, "w", LEASE, now(), 1)
    assert row is not None
    assert row.place is None
    assert await turns.claim(third, "w", LEASE, now(), 1) is None


async def test_where_a_run_stands(db: Database) -> None:
    graph, other = await save(QUICK), await save(QUICK)
    await queue(other, 2)
    ids = [await start(graph) for _ in range(3)]
    assert [(await look(run))["stats"]["queue_position"] for run in ids] == [1, 2, 3]
    await order(places=1)
    seen = [(await look(run))["stats"] for run in ids]
    assert "queue_position" not in seen[0]
    assert [one["queue_position"] for one in seen[1:]] == [1, 2]


@pytest.mark.parametrize("most", [1, 8, 16])
async def test_choosing_looks_at_users_and_lanes_and_not_at_the_runs_behind_them(db: Database, most: int) -> None:
    """The cost of a turn does not grow with the number of runs that wait, or that are over."""
    graph = await save(QUICK)
    (run_id,) = await queue(graph, 1)
    await db.execute(
        """
        INSERT INTO runs (id, user_id, graph_id, graph_version, root_id, status, request, created_at, deadline)
        SELECT gen_random_uuid(), user_id, graph_id, graph_version, root_id,
               CASE WHEN n % 2 = 0 THEN 'QUEUED' ELSE 'COMPLETED' END, request, now() + n * interval '1 ms', deadline
        FROM runs CROSS JOIN generate_series(1, 20000) n WHERE id = $1
        """,
        run_id,
    )
    await db.execute("ANALYZE runs")
    # As every statement that is used often: planned without its parameters.
    async with db.transaction() as connection:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        statement = f"EXPLAIN (ANALYZE, TIMING OFF) {turns.claim_next_sql(25, most)}"
        lines = [row[0] for row in await connection.fetch(statement, "", "w", LEASE, now(), most)]
    scans = [line for line in lines if "on runs" in line and "never executed" not in line]
    assert len(scans) >= 6
    assert not [line for line in scans if "Seq Scan" in line]
    assert max(float(line.partition("(actual rows=")[2].split()[0]) for line in scans) <= 25


# The driver


async def test_a_run_over_the_limit_waits_in_place_and_begins_when_another_ends(driver: Driver) -> None:
    lasting = await save(LASTING)
    runs = [await start(lasting) for _ in range(5)]
    assert await driver.take_turns(5) == 3
    assert [await status_of(run.id) for run in runs] == ["RUNNING"] * 3 + ["QUEUED"] * 2
    assert not await driver.accept(runs[4].id)
    assert await service.stop(ANN.id, lasting.id, runs[1].id) is not None
    await reaching(runs[3], "RUNNING")
    assert await status_of(runs[4].id) == "QUEUED"
    # A stop of one that waits needs no place.
    stopped = await service.stop(ANN.id, lasting.id, runs[4].id)
    assert stopped is not None
    assert stopped.status == "TERMINATED"


async def test_parents_that_fill_all_places_get_their_sub_runs(db: Database, redis: Redis, settings: Settings) -> None:
    child = await save(
        draw({"i": (INPUT, {"name": "q", "value": 1}), "o": (OUTPUT, {"name": "r"})}, "i.result -> o.value")
    )
    parents = await save(draw({"a": agent(child.id, child.version, {"q": 1}, "q", "r")}))
    async with Driver(replace(settings, max_runs_per_graph=2, worker_concurrency=3)) as driver:
        runs = [await start(parents) for _ in range(5)]
        async with asyncio.timeout(30):
            while {await status_of(run.id) for run in runs} != {"COMPLETED"}:
                await asyncio.gather(driver.take_turns(1), asyncio.sleep(0.01))
                for row in await db.fetch("SELECT id FROM runs WHERE status = 'RUNNING' AND lease_until IS NULL"):
                    await driver.accept(row["id"])


async def test_a_parked_run_that_is_stopped_gives_its_place_to_the_next(
    db: Database, redis: Redis, settings: Settings
) -> None:
    graph = await save(LASTING)
    first, second = await start(graph), await start(graph)
    row = await turns.claim(first.id, "w", LEASE, now(), 1)
    assert row is not None
    await db.execute("UPDATE runs SET lease_until = NULL, lease_owner = NULL WHERE id = $1", first.id)
    await redis.flushdb()
    assert await service.stop(ANN.id, graph.id, first.id) is not None
    assert await redis.llen("agentplat:bell") == 1
    assert [row.id for row in await order(places=1)] == [second.id]


# What is told of it


async def test_every_run_says_where_its_time_went(driver: Driver, gate: Gate) -> None:
    nodes = {"g": (GATE, {"path": gate.path, "v": 1}), "s": (SLOW, {"delay": 0.3}), "n": (STORE, {})}
    graph = await save(draw(nodes, "g.out -> s.v", "s.out -> n.input"))
    run = await start(graph)
    waiting = (await look(run))["stats"]["timings"]
    accepted = waiting["accepted"]
    later = {"leased": None, "first_node_started": None, "finished": None}
    assert waiting == {"accepted": accepted, "enqueued": 0, **later}
    await driver.take_turns(1)

    async def begun() -> bool:
        return (await look(run))["stats"]["timings"]["first_node_started"] is not None

    await until(begun)
    live = (await look(run))["stats"]["timings"]
    assert live["finished"] is None
    gate.open()
    timings = (await final(run))["stats"]["timings"]
    assert timings == live | {"finished": timings["finished"]}
    assert timings["accepted"] == accepted
    assert 0 <= timings["leased"] <= timings["first_node_started"] <= timings["finished"] - 0.3


async def test_every_node_says_where_its_time_went(driver: Driver, gate: Gate) -> None:
    nodes = {"s": (SLOW, {"v": 1, "delay": 0.3}), "n": (STORE, {}), "m": (GATE, {"path": gate.path})}
    graph = await save(draw(nodes, "s.out -> n.input", "n.output -> m.v"))
    run = await start(graph)
    (queued,) = (await look(run))["node_executions"]
    assert queued["timings"] == {"waited": None, "executed": None, "recorded": None}
    await driver.take_turns(1)

    async def recorded() -> bool:
        return outcomes(await look(run), graph).get("n") == [("COMPLETED", {"output": [1]})]

    await until(recorded)
    gate.open()
    slow, store, last = (one["timings"] for one in (await final(run))["node_executions"])
    assert slow["executed"] >= 0.3
    for one in (slow, store, last):
        assert one["waited"] >= 0
        assert one["executed"] >= 0
    # Committed while the last node waited, so before the row that ends the run.
    assert 0 < slow["recorded"] < last["executed"]
    assert 0 < store["recorded"] < last["executed"]
    assert last["recorded"] >= 0
