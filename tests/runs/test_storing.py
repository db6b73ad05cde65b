"""Requests that come at once are stored together, and each is answered as if it had come alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from agentplat.credits import service as credits
from agentplat.infra.db import Database
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.conditions import until
from tests.support.locks import waiting
from tests.support.statements import said
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")


@pytest.fixture
async def graph(api: Api) -> dict[str, Any]:
    return await created(api("ann"))


@pytest.fixture
async def rival(db: Database) -> AsyncIterator[asyncpg.Connection]:
    """Another connection, with a transaction that is open."""
    connection = await asyncpg.connect(db.pool._connect_args[0])
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


def path(graph: dict[str, Any]) -> str:
    return f"/api/graphs/{graph['id']}/execute/{graph['version']}"


async def execute(client: httpx.AsyncClient, graph: dict[str, Any], **more: Any) -> httpx.Response:
    return await client.post(path(graph), json={}, **more)


async def stored(db: Database, user_id: str = "ann") -> set[str]:
    return {row["id"] for row in await db.fetch("SELECT id FROM runs WHERE user_id = $1", user_id)}


def ids(answers: list[httpx.Response]) -> set[str]:
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    return {answer.json()["id"] for answer in answers}


async def test_many_at_once_take_few_statements_and_all_are_stored(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    await execute(ann, graph)  # who Ann is, and her graph, are known from now on
    before = await stored(db)
    with said() as statements:
        answers = await asyncio.gather(*(execute(ann, graph) for _ in range(40)))
    assert len(ids(answers)) == 40
    assert await stored(db) - before == ids(answers)
    assert len(statements) < 40  # one by one they take two each


async def test_many_at_once_ring_once_each(api: Api, graph: Any, redis: Redis) -> None:
    answers = await asyncio.gather(*(execute(api("ann"), graph) for _ in range(20)))
    assert len(ids(answers)) == 20
    assert await redis.llen("agentplat:bell") == 20


async def test_a_refused_one_takes_nobody_along(api: Api, graph: Any, db: Database) -> None:
    """Bad ones of all kinds among good ones: unknown and foreign graphs, and what Postgres will not store."""
    ann, bob = api("ann"), api("bob")
    kinds = {
        200: lambda: execute(ann, graph),
        404: lambda: execute(ann, {"id": NOBODYS_ID, "version": 1}),
        500: lambda: execute(ann, graph, params={"preset_id": "refused"}),
        "foreign": lambda: execute(bob, graph),
    }
    asked = [kind for _ in range(8) for kind in kinds]
    await db.execute("ALTER TABLE runs ADD CONSTRAINT refused CHECK (preset_id <> 'refused')")
    try:
        answers = await asyncio.gather(*(kinds[kind]() for kind in asked))
    finally:
        await db.execute("ALTER TABLE runs DROP CONSTRAINT refused")
    for kind, answer in zip(asked, answers, strict=True):
        assert answer.status_code == (404 if kind == "foreign" else kind), answer.text
    assert await stored(db) == ids([answer for answer in answers if answer.status_code == 200])
    assert len(await stored(db)) == 8
    assert await stored(db, "bob") == set()


async def test_a_preset_id_that_no_text_can_be_is_refused_by_name(api: Api, graph: Any, db: Database) -> None:
    refused = await execute(api("ann"), graph, params={"preset_id": "a\0b"})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "preset_id"])
    assert await stored(db) == set()


async def test_keys_among_others_start_one_run_each(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    keys = [None, "a", "b"] * 10
    headers = [{} if key is None else {"Idempotency-Key": key} for key in keys]
    answers = await asyncio.gather(*(execute(ann, graph, headers=one) for one in headers))
    assert len(ids(answers)) == 12
    assert await stored(db) == ids(answers)
    for key in ("a", "b"):
        assert len({answer.content for answer, one in zip(answers, keys, strict=True) if one == key}) == 1


async def test_room_is_counted_per_user(api: Api, graph: Any, db: Database) -> None:
    bobs = await created(api("bob"))
    with environment_of(AGENTPLAT_MAX_QUEUED_PER_USER="5"):
        ann, bob = api("ann"), api("bob")
        asked = [execute(ann, graph) for _ in range(20)] + [execute(bob, bobs) for _ in range(4)]
        answers = await asyncio.gather(*asked)
        assert Counter(answer.status_code for answer in answers[:20]) == {200: 5, 429: 15}
        assert await stored(db, "bob") == ids(answers[20:])
        assert await stored(db) == ids([answer for answer in answers[:20] if answer.status_code == 200])


async def test_who_can_not_pay_takes_nobody_along(api: Api, graph: Any, db: Database) -> None:
    bobs = await created(api("bob"))
    with environment_of(ENABLE_CREDIT="true"):
        await credits.grant("bob", 1, "gift", "gift")
        ann, bob = api("ann"), api("bob")
        answers = await asyncio.gather(*(execute(*one) for _ in range(10) for one in ((ann, graph), (bob, bobs))))
    assert {answer.status_code for answer in answers[::2]} == {402}
    assert await stored(db, "bob") == ids(answers[1::2])
    assert await stored(db) == set()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("key", [None, "k"])
async def test_a_graph_that_is_just_being_deleted_holds_nobody_else_up(
    api: Api, graph: Any, db: Database, rival: asyncpg.Connection, end: str, key: str | None
) -> None:
    ann = api("ann")
    other = await created(ann, name="Other")
    await rival.execute("DELETE FROM graph_versions WHERE id = $1", graph["id"])
    headers = {} if key is None else {"Idempotency-Key": key}
    held_up = asyncio.create_task(execute(ann, graph, headers=headers))
    answers = await asyncio.gather(*(execute(ann, other) for _ in range(5)))
    await until(lambda: waiting(db))
    answers += await asyncio.gather(*(execute(ann, other) for _ in range(5)))
    assert not held_up.done()
    await rival.execute(end)
    answer = await held_up
    if end == "COMMIT":
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    else:
        answers.append(answer)
    assert await stored(db) == ids(answers)


async def test_nobody_is_answered_before_the_commit(
    api: Api, graph: Any, db: Database, rival: asyncpg.Connection
) -> None:
    """A commit that comes to nothing has accepted nobody, and those who come after it are stored."""
    ann = api("ann")
    await execute(ann, graph)
    before = await stored(db)
    await rival.execute("LOCK TABLE runs IN SHARE MODE")
    asked = [asyncio.create_task(execute(ann, graph)) for _ in range(10)]
    await until(lambda: waiting(db))
    assert not any(one.done() for one in asked)
    ended = await rival.fetch(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    assert ended
    await until(lambda: any(one.done() for one in asked))
    await rival.execute("ROLLBACK")
    answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers).keys() <= {200, 503}
    assert any(answer.status_code == 503 for answer in answers)
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert await stored(db) - before == {answer.json()["id"] for answer in accepted}
    assert (await execute(ann, graph)).status_code == 200


async def test_a_large_request_is_stored_like_any_other(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    large = {"inputs": {"said": "x" * 100_000}}
    answers = await asyncio.gather(*(ann.post(path(graph), json=body) for body in (large, {}, large, {})))
    assert await stored(db) == ids(list(answers))
