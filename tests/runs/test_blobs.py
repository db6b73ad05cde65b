"""Values that are too big for a row: stored once per run, never on the stream, and whole wherever somebody looks."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.engine.messages import Message, NodeEnded, NodeStarted, RunBegan, encode
from agentplat.events import service as events
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import commits, ending, queries, retention, service, turns
from agentplat.runs.commits import Write, spilled
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunMeta, RunRow
from agentplat.runs.nodes import now_us
from agentplat.runs.spilling import LIMIT
from tests.support.client import User
from tests.support.drawing import GATE, REPEATABLE, STORE, Drawing, draw
from tests.support.gates import Gate
from tests.support.hosting import final, look, outcomes
from tests.support.world import ANN, save, start

BIG = "Liberté\n" * 600_000
LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


def chain(path: Path, value: Any) -> Drawing:
    """Hands a value on: two pure nodes, one with an effect that may be repeated, two pure ones."""
    nodes = {name: (STORE, {}) for name in "bde"}
    return draw(
        {"a": (STORE, {"input": value}), "c": (REPEATABLE, {"path": str(path)}), **nodes},
        "a.output -> b.input",
        "b.output -> c.v",
        "c.out -> d.input",
        "d.output -> e.input",
    )


def row_of(row: RunRow, seq: int, *messages: Message) -> Write:
    day = row.created_at.astimezone(UTC).date()
    return Write(run_id=row.id, run_day=day, seq=seq, fence=row.fence, body=encode(messages))


async def claimed(run: RunMeta, owner: str, lease: timedelta = LEASE) -> RunRow:
    row = await turns.claim(run.id, owner, lease, now())
    assert row is not None
    await queries.ensure_partition(row.created_at.astimezone(UTC).date())
    return row


async def left_by_dead_worker(run: RunMeta, value: Any) -> None:
    """The first three nodes of the chain; the third has begun."""
    row = await claimed(run, "dead", OVER)
    at = now_us()
    messages = [NodeEnded(number, at, [("output", value)], None, at) for number in (1, 2)]
    write = spilled(row_of(row, 1, RunBegan(at), *messages, NodeStarted(3, at)), set())
    assert (await commits.commit([write], "dead")).held == {write.claim}


async def stored(db: Database, run: RunMeta) -> list[bytes]:
    return [row["hash"] for row in await db.fetch("SELECT hash FROM blobs WHERE run_id = $1", run.id)]


async def sizes(db: Database, run: RunMeta) -> list[int]:
    """Of the run's journal rows and of its result."""
    rows = await db.fetch(
        """
        SELECT octet_length(body) FROM journal WHERE run_id = $1
        UNION ALL SELECT octet_length(outputs) + octet_length(node_executions) FROM runs WHERE id = $1
        """,
        run.id,
    )
    return [row[0] for row in rows]


async def test_a_value_goes_through_a_chain_and_a_crash_and_is_stored_once(
    db: Database, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    graph = await save(chain(tmp_path / "log", BIG))
    run = await start(graph)
    await left_by_dead_worker(run, BIG)
    under_way = outcomes(await look(run), graph)
    assert under_way["b"] == [("COMPLETED", {"output": [BIG]})]
    assert under_way["c"] == [("RUNNING", {})]
    async with Driver(settings):  # whose sweep finds the run
        seen = await final(run)
    done = outcomes(seen, graph)
    assert {name: done[name] for name in "abde"} == {name: [("COMPLETED", {"output": [BIG]})] for name in "abde"}
    assert done["c"] == [("COMPLETED", {"out": [BIG]})]
    assert all(BIG in one["input_data"].values() for one in seen["node_executions"])
    assert await stored(db, run) == [sha256(msgspec.json.encode(BIG)).digest()]
    assert max(await sizes(db, run)) < LIMIT
    entries = [fields for _, fields in await redis.xrange(events.stream_of(ANN.id))]
    assert sum(len(value) for fields in entries for value in fields.values()) < LIMIT
    assert any(b"b" not in fields for fields in entries)
    assert [one.id for one in await service.list_(ANN.id)] == [run.id]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("x" * 65_537, id="one character more than 64 Ki"),
        pytest.param("".join(map(chr, range(0x20))) * 3000, id="control characters"),
        pytest.param("😀" * 30_000, id="fewer characters than bytes"),
        pytest.param([1.5, None, {"deep": [{"text": "y" * LIMIT, "other": "y" * 10}]}], id="deep"),
        pytest.param({str(number): number for number in range(20_000)}, id="many small parts"),
        pytest.param([["output", 0], "z" * LIMIT, [[0, 3, 0, 1], sha256(b"").hexdigest()]], id="looks like a handle"),
    ],
)
async def test_values_come_back_whole(driver: Driver, db: Database, tmp_path: Path, value: Any) -> None:
    graph = await save(chain(tmp_path / "log", value))
    run = await start(graph)
    await driver.accept(run.id)
    seen = await final(run)
    assert outcomes(seen, graph)["e"] == [("COMPLETED", {"output": [value]})]
    assert len(await stored(db, run)) == 1
    assert max(await sizes(db, run)) < LIMIT


async def test_small_values_are_where_they_always_were(driver: Driver, db: Database, tmp_path: Path) -> None:
    run = await start(await save(chain(tmp_path / "log", "x" * 1000)))
    await driver.accept(run.id)
    await final(run)
    assert await stored(db, run) == []
    assert await db.fetchval("SELECT count(handles) FROM journal WHERE run_id = $1", run.id) == 0
    assert await db.fetchval("SELECT result_handles IS NULL FROM runs WHERE id = $1", run.id)


async def test_who_lost_the_lease_stores_no_values(db: Database, redis: Redis, tmp_path: Path) -> None:
    run = await start(await save(chain(tmp_path / "log", 1)))
    old = await claimed(run, "w1", OVER)
    new = await claimed(run, "w1")
    write = spilled(row_of(old, 1, NodeEnded(1, 1, [("output", BIG)], None, 1)), set())
    assert write.blobs
    await commits.commit([write], "w1")
    assert await stored(db, run) == []
    # Not either in the company of the one who holds it.
    assert (await commits.commit([write, row_of(new, 5)], "w1")).held == {(new.id, new.fence)}
    assert await stored(db, run) == []


async def test_a_commit_with_values_may_be_repeated(db: Database, redis: Redis, tmp_path: Path) -> None:
    run = await start(await save(chain(tmp_path / "log", 1)))
    row = await claimed(run, "w1")
    write = spilled(row_of(row, 1, NodeEnded(1, 1, [("output", BIG)], None, 1)), set())
    for _ in range(2):
        assert (await commits.commit([write, write], "w1")).held == {write.claim}
    assert len(await stored(db, run)) == 1


def test_a_value_is_sent_once_by_whoever_holds_the_run() -> None:
    known: set[str] = set()
    write = Write(run_id="r", run_day=now().date(), seq=1, fence=1, body=encode([NodeEnded(1, 1, [("o", BIG)])]))
    first, second = spilled(write, known), spilled(write, known)
    assert set(first.blobs) == known == {sha256(msgspec.json.encode(BIG)).hexdigest()}
    assert not second.blobs
    assert second.handles == first.handles


async def test_a_run_that_is_ended_for_its_user_keeps_its_values(db: Database, redis: Redis, tmp_path: Path) -> None:
    graph = await save(chain(tmp_path / "log", BIG))
    run = await start(graph)
    await left_by_dead_worker(run, BIG)
    assert await ending.terminate([run.id])
    seen = await look(run)
    assert seen["status"] == "TERMINATED"
    assert outcomes(seen, graph)["b"] == [("COMPLETED", {"output": [BIG]})]
    assert len(await stored(db, run)) == 1
    assert max(await sizes(db, run)) < LIMIT


async def test_retention_deletes_what_only_the_journal_needs(driver: Driver, db: Database, tmp_path: Path) -> None:
    old, young = [await start(await save(chain(tmp_path / "log", BIG))) for _ in range(2)]
    day = now().astimezone(UTC).date() - timedelta(days=40)
    await queries.ensure_partition(day)
    await db.execute("UPDATE runs SET created_at = created_at - interval '40 days' WHERE id = $1", old.id)
    for run in (old, young):
        await driver.accept(run.id)
        await final(run)
        await db.execute("INSERT INTO blobs VALUES ($1, 'another', '1')", run.id)
    before = await look(old)
    await retention.retire(30, dry_run=True)
    assert len(await stored(db, old)) == 2
    await retention.retire(30, dry_run=False)
    assert await stored(db, old) == [sha256(msgspec.json.encode(BIG)).digest()]
    assert len(await stored(db, young)) == 2
    assert await look(old) == before


async def test_sockets_show_values_whole(base_url: str, make_token: Callable[..., str], gate: Gate) -> None:
    text = "\t" * (LIMIT + 1)
    drawing = draw({"s": (GATE, {"v": text, "path": gate.path}), "b": (STORE, {})}, "s.out -> b.input")
    async with User(base_url, make_token("reader")) as user, user.socket() as socket:
        graph, _ = await user.create(drawing)
        run = await user.start(graph)
        await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"]})
        gate.open()
        frames = await socket.until_final()
    shown = [one["data"]["output_data"] for one in frames if one["method"] == "node_execution_event"]
    assert {"out": [text]} in shown
    assert {"output": [text]} in shown
