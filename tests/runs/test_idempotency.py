"""One key, one run: whatever comes again, at once, too late, or while half of the platform is down."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from agentplat.credits import service as credits
from agentplat.infra import redis as redis_module
from agentplat.infra.db import Database
from agentplat.infra.redis import connect
from agentplat.infra.settings import Settings
from agentplat.runs import idempotency
from agentplat.runs.models import ExecuteBody
from tests.support.api import NOBODYS_ID, Api, created, echo_graph
from tests.support.conditions import until
from tests.support.deaf import deaf_redis
from tests.support.locks import waiting
from tests.support.switches import environment_of

# The API in this process without Redis: what is promised here must not need it.


@pytest.fixture
async def graph(api: Api) -> dict[str, Any]:
    return await created(api("ann"))


def path(graph: dict[str, Any]) -> str:
    return f"/api/graphs/{graph['id']}/execute/{graph['version']}"


async def execute(
    client: httpx.AsyncClient, graph: dict[str, Any], key: str, said: str = "hello", **more: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key, **more.pop("headers", {})}
    return await client.post(path(graph), json={"inputs": {"said": said}}, headers=headers, **more)


async def runs(db: Database) -> list[str]:
    return [row["id"] for row in await db.fetch("SELECT id FROM runs")]


async def test_a_request_that_comes_again_is_answered_from_the_record(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    first = await execute(ann, graph, "k1")
    again = await execute(ann, graph, "k1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert await runs(db) == [first.json()["id"]]


async def test_without_a_key_every_request_starts_a_run(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    answers = [await ann.post(path(graph), json={}) for _ in range(2)]
    assert {answer.json()["id"] for answer in answers} == set(await runs(db))
    assert len(await runs(db)) == 2


@pytest.mark.parametrize("turn", range(3))
async def test_of_twenty_at_once_one_starts_a_run(api: Api, graph: Any, db: Database, turn: int) -> None:
    ann = api("ann")
    answers = await asyncio.gather(*(execute(ann, graph, "k1") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await runs(db) == [answers[0].json()["id"]]
    assert await runs(db) == [row["run_id"] for row in await db.fetch("SELECT run_id FROM idempotency_keys")]


async def test_of_twenty_different_ones_at_once_under_one_key_one_is_taken(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    answers = await asyncio.gather(*(execute(ann, graph, "k1", said=str(number)) for number in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert len(await runs(db)) == 1


@pytest.fixture
async def rival(db: Database, graph: Any) -> AsyncIterator[asyncpg.Connection]:
    """A connection that has claimed the key `k1` for ann's request, in a transaction that is still open."""
    connection = await asyncpg.connect(db.pool._connect_args[0])
    transaction = connection.transaction()
    await transaction.start()
    body = ExecuteBody(inputs={"said": "hello"})
    await connection.execute(
        "INSERT INTO idempotency_keys (user_id, key, fingerprint, run_id, response) VALUES ('ann', 'k1', $1, 'r', $2)",
        idempotency.fingerprint(graph["id"], graph["version"], None, body),
        b'{"id":"r","user_id":"ann","graph_id":"g","graph_version":1,"inputs":{},"credential_inputs":null,'
        b'"nodes_input_masks":null,"preset_id":null,"status":"QUEUED","stats":null}',
    )
    yield connection
    await connection.close()


async def blocked(connection: asyncpg.Connection) -> None:
    """Until somebody waits for a lock."""
    await until(lambda: connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_the_loser_waits_for_the_winner(api: Api, graph: Any, db: Database, rival: Any, end: str) -> None:
    waiting = asyncio.create_task(execute(api("ann"), graph, "k1"))
    await blocked(rival)
    assert not waiting.done()
    await rival.execute(end)
    answer = await waiting
    assert answer.status_code == 200
    if end == "COMMIT":
        assert (answer.json()["id"], answer.headers["idempotency-replayed"]) == ("r", "true")
        assert await runs(db) == []
    else:
        assert "idempotency-replayed" not in answer.headers
        assert await runs(db) == [answer.json()["id"]]


@pytest.mark.parametrize("change", ["body", "graph", "version", "preset"])
async def test_a_key_is_bound_to_its_request(api: Api, graph: Any, db: Database, change: str) -> None:
    ann = api("ann")
    other = await created(ann, name="Other")
    update = {**echo_graph(), "id": graph["id"]}
    assert (await ann.put(f"/api/graphs/{graph['id']}", json=update)).status_code == 200
    assert (await execute(ann, graph, "k1")).status_code == 200
    changed = {
        "body": execute(ann, graph, "k1", said="bye"),
        "graph": execute(ann, other, "k1"),
        "version": execute(ann, {**graph, "version": 2}, "k1"),
        "preset": execute(ann, graph, "k1", params={"preset_id": "p"}),
    }
    for name, request in changed.items():
        if name != change:
            request.close()
    refused = await changed[change]
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await runs(db)) == 1


async def test_the_same_request_may_be_written_differently(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    headers = {"Idempotency-Key": "k1"}
    bodies = [
        b'{"inputs": {"said": "hello", "more": {"a": 1, "b": 2}}}',
        b'{"source": null, "inputs":{"more":{"b":2,"a":1},"said":"hel\\u006co"}, "credentials_inputs": {}}',
    ]
    answers = [await ann.post(path(graph), content=body, headers=headers) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert len(await runs(db)) == 1


async def test_users_do_not_share_keys(api: Api, graph: Any, db: Database) -> None:
    bobs = await created(api("bob"))
    first, other = await execute(api("ann"), graph, "k1"), await execute(api("bob"), bobs, "k1")
    assert (first.status_code, other.status_code) == (200, 200)
    assert "idempotency-replayed" not in other.headers
    # Nor does somebody else's key open somebody else's run.
    assert (await execute(api("bob"), graph, "k1")).status_code == 409
    assert (await execute(api("bob"), graph, "k2")).status_code == 404
    assert len(await runs(db)) == 2


async def test_a_refusal_is_not_recorded(api: Api, graph: Any, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = api("ann")
    nowhere = {"id": NOBODYS_ID, "version": 1}
    assert (await execute(ann, nowhere, "k1")).status_code == 404
    assert (await ann.post(path(graph), content=b"{", headers={"Idempotency-Key": "k1"})).status_code == 422
    assert (await execute(ann, {**graph, "version": 9}, "k1")).status_code == 404
    assert await db.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    accepted = await execute(ann, graph, "k1")
    assert accepted.status_code == 200
    assert "idempotency-replayed" not in accepted.headers


async def test_what_was_accepted_stays_so_when_its_graph_is_gone(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    first = await execute(ann, graph, "k1")
    assert (await ann.delete(f"/api/graphs/{graph['id']}")).status_code == 200
    assert (await execute(ann, graph, "k2")).status_code == 404
    assert (await execute(ann, graph, "k1")).content == first.content


async def test_a_run_that_can_not_be_stored_leaves_no_key(api: Api, graph: Any, db: Database) -> None:
    await db.execute("ALTER TABLE runs ADD CONSTRAINT refused CHECK (status <> 'QUEUED')")
    try:
        assert (await execute(api("ann"), graph, "k1")).status_code == 500
    finally:
        await db.execute("ALTER TABLE runs DROP CONSTRAINT refused")
    assert await db.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    assert (await execute(api("ann"), graph, "k1")).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "a\tb", "\x7f"])
async def test_a_key_that_is_none_is_refused_by_name(api: Api, graph: Any, db: Database, key: str) -> None:
    refused = await api("ann").post(path(graph), json={}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert await runs(db) == []


@pytest.mark.parametrize(
    "key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b~!", "00000000-0000-4000-8000-000000000001"]
)
async def test_any_printable_text_is_a_key(api: Api, graph: Any, db: Database, key: str) -> None:
    assert (await execute(api("ann"), graph, key)).status_code == 200
    assert await db.fetchval("SELECT key FROM idempotency_keys") == key


async def test_it_works_while_redis_is_down(
    api: Api, graph: Any, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = connect("unix:///nowhere/redis.sock")
    monkeypatch.setattr(redis_module, "_client", dead)
    answers = await asyncio.gather(*(execute(api("ann"), graph, "k1") for _ in range(5)))
    assert len({answer.content for answer in answers}) == 1
    assert await runs(db) == [answers[0].json()["id"]]
    await dead.aclose()


async def test_a_redis_that_hangs_holds_nobody_up(api: Api, graph: Any, db: Database, tmp_path: Path) -> None:
    async with deaf_redis(tmp_path):
        answer = await asyncio.wait_for(execute(api("ann"), graph, "k1"), 5)
    assert await runs(db) == [answer.json()["id"]]


async def expire(db: Database) -> None:
    await db.execute("UPDATE idempotency_keys SET created_at = created_at - interval '24 hours 1 second'")


async def test_after_a_day_a_key_is_new(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    first = await execute(ann, graph, "k1")
    await expire(db)
    answers = await asyncio.gather(*(execute(ann, graph, "k1", said="other") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    (later,) = {answer.json()["id"] for answer in answers}
    assert later != first.json()["id"]
    assert (await execute(ann, graph, "k1")).status_code == 409
    assert len(await runs(db)) == 2


async def test_expired_keys_are_removed(api: Api, graph: Any, db: Database) -> None:
    ann = api("ann")
    for number in range(3):
        await execute(ann, graph, f"old-{number}")
    await expire(db)
    await execute(ann, graph, "new")
    assert await idempotency.count_expired() == 3
    assert await idempotency.remove_expired() == 3
    assert await idempotency.remove_expired() == 0
    assert await db.fetchval("SELECT key FROM idempotency_keys") == "new"


@pytest.mark.parametrize("many", [False, True], ids=["one", "bulk"])
async def test_a_request_is_not_refused_for_what_its_own_run_has_spent(
    api: Api, graph: Any, db: Database, settings: Settings, many: bool
) -> None:
    """The first request is accepted, and its run spends everything, while the second one is being looked at."""
    ann = api("ann")
    item = {"graph_id": graph["id"], "graph_version": graph["version"], "inputs": {"said": "hello"}}

    async def ask() -> tuple[int, Any]:
        if not many:
            answer = await execute(ann, graph, "k")
            return answer.status_code, answer.json()
        answer = await ann.post("/api/executions/bulk/start", json={"runs": [item | {"idempotency_key": "k"}]})
        (result,) = answer.json()["results"]
        return result["status"], result.get("run")

    with environment_of(ENABLE_CREDIT="true"):
        await credits.grant("ann", 1, "gift", "gift")
        first = (await ask())[1]
        key = await db.fetchrow("DELETE FROM idempotency_keys RETURNING *")
        assert key is not None
        connection = await asyncpg.connect(settings.database_url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE balances IN ACCESS EXCLUSIVE MODE")
            second = asyncio.create_task(ask())
            await until(lambda: waiting(db), 10)
            await connection.execute(
                f"INSERT INTO idempotency_keys VALUES ({', '.join(f'${n}' for n in range(1, len(key) + 1))})", *key
            )
            await connection.execute("UPDATE balances SET balance = 0")
        await connection.close()
        assert await second == (200, first)
