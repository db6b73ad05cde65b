"""API keys: making and changing them, and coming in with them."""

import asyncio
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentplat.accounts import api_keys, service
from agentplat.accounts.errors import ApiKeyInvalid, PermissionMissing
from agentplat.accounts.models import Permission, User
from agentplat.accounts.queries import api_keys as queries
from agentplat.infra.db import Database
from tests.support.api import NOBODYS_ID, Api
from tests.support.conditions import until
from tests.support.locks import waiting
from tests.support.statements import said
from tests.support.switches import environment_of

KEYS = "/api/api-keys"
READ = Permission.READ_BLOCK


async def ok(call: Any) -> Any:
    response = await call
    assert response.status_code == 200, response.text
    return response.json()


async def made(client: Any, **members: Any) -> Any:
    body = {"name": "CI", "permissions": ["READ_BLOCK", "EXECUTE_GRAPH"]} | members
    return await ok(client.post(KEYS, json=body))


async def is_good(key: str, permission: Permission = READ) -> bool:
    try:
        await service.user_of_key(key, permission)
    except ApiKeyInvalid:
        return False
    return True


async def test_a_key_is_shown_once(api: Api, db: Database) -> None:
    ann = api("ann")
    answer = await made(ann, description="for the build")
    key, info = answer["plain_text_key"], answer["api_key"]
    assert (len(key), key[:5]) == (48, "agpt_")
    assert (info["head"], info["tail"]) == (key[:8], key[-8:])
    assert info | {"name": "CI", "status": "ACTIVE", "user_id": "ann", "type": "api_key"} == info
    assert (info["description"], info["scopes"]) == ("for the build", ["READ_BLOCK", "EXECUTE_GRAPH"])
    assert (info["expires_at"], info["last_used_at"], info["revoked_at"]) == (None, None, None)
    assert await ok(ann.get(f"{KEYS}/{info['id']}")) == info
    assert await ok(ann.get(KEYS)) == [info]
    stored = await db.fetchval("SELECT k::text FROM api_keys k")
    assert key not in stored
    assert key.encode().hex() not in stored


async def test_a_key_says_whose_it_is(api: Api) -> None:
    key = (await made(api("ann", user_metadata={"name": "Ann"})))["plain_text_key"]
    assert await service.user_of_key(key, READ) == User(id="ann", email="ann@example.com", name="Ann")
    with pytest.raises(PermissionMissing, match="Missing required permission: USE_TOOLS"):
        await service.user_of_key(key, Permission.USE_TOOLS)
    last = "A" if key[-1] != "A" else "B"
    for wrong in ("", "agpt_", key[:-1], key[:-1] + last, f"{key}A", key.upper(), "x" * 48, "agpt_" + "é" * 43):
        assert not await is_good(wrong)


async def test_suspended_keys_come_back_and_revoked_ones_do_not(api: Api) -> None:
    ann = api("ann")
    answer = await made(ann)
    key, path = answer["plain_text_key"], f"{KEYS}/{answer['api_key']['id']}"
    assert (await ok(ann.post(f"{path}/suspend")))["status"] == "SUSPENDED"
    assert not await is_good(key)
    assert (await ok(ann.post(f"{path}/resume")))["status"] == "ACTIVE"
    assert await is_good(key)
    revoked = await ok(ann.delete(path))
    assert revoked["status"] == "REVOKED"
    assert revoked["revoked_at"] is not None
    assert not await is_good(key)
    assert (await ok(ann.delete(path)))["revoked_at"] == revoked["revoked_at"]
    for method, step, body in (
        ("POST", "suspend", None),
        ("POST", "resume", None),
        ("PUT", "permissions", {"permissions": []}),
    ):
        response = await ann.request(method, f"{path}/{step}", json=body)
        assert (response.status_code, response.json()["code"]) == (409, "api_key_revoked")
    assert (await ok(ann.get(path)))["status"] == "REVOKED"


async def test_revoking_wins_over_whatever_comes_at_once(api: Api) -> None:
    ann = api("ann")
    for _ in range(5):
        path = f"{KEYS}/{(await made(ann))['api_key']['id']}"
        await asyncio.gather(*(ann.post(f"{path}/{step}") for step in ("suspend", "resume") * 3), ann.delete(path))
        assert (await ok(ann.get(path)))["status"] == "REVOKED"


async def test_permissions_are_replaced(api: Api) -> None:
    ann = api("ann")
    answer = await made(ann)
    key, path = answer["plain_text_key"], f"{KEYS}/{answer['api_key']['id']}"
    changed = await ok(ann.put(f"{path}/permissions", json={"permissions": ["IDENTITY", "IDENTITY"]}))
    assert changed["scopes"] == ["IDENTITY"]
    with pytest.raises(PermissionMissing):
        await service.user_of_key(key, READ)
    assert (await service.user_of_key(key, Permission.IDENTITY)).id == "ann"
    refused = await ann.put(f"{path}/permissions", json={"permissions": ["EVERYTHING"]})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "permissions", 0])


async def test_keys_expire(api: Api, db: Database) -> None:
    ann = api("ann")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = await made(ann, expires_at=soon)
    assert answer["api_key"]["expires_at"].endswith("Z")
    assert await is_good(answer["plain_text_key"])
    await db.execute("UPDATE api_keys SET expires_at = now()")
    assert not await is_good(answer["plain_text_key"])
    for unusable in ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00", "soon", "9999-12-31T23:59:59-14:00"):
        body = {"name": "CI", "permissions": [], "expires_at": unusable}
        response = await ann.post(KEYS, json=body)
        assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "expires_at"])


async def test_use_is_written_down_once_a_minute(api: Api, db: Database) -> None:
    key = (await made(api("ann")))["plain_text_key"]
    versions = set()
    for _ in range(3):
        await asyncio.gather(*(service.user_of_key(key, READ) for _ in range(5)))
        await used(db)
        versions.add(await db.fetchval("SELECT xmin::text || ctid::text FROM api_keys"))
    assert len(versions) == 1
    first = await db.fetchval("SELECT last_used_at FROM api_keys")
    await db.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    await service.user_of_key(key, READ)
    await until(lambda: db.fetchval("SELECT last_used_at > $1 FROM api_keys", first))


async def test_of_several_processes_one_writes_the_use_down(api: Api, db: Database) -> None:
    key_id = (await made(api("ann")))["api_key"]["id"]
    hash_ = await db.fetchval("SELECT hash FROM api_keys")
    async with db.transaction() as connection:
        await connection.execute("SELECT FROM api_keys FOR UPDATE")
        others = [asyncio.create_task(queries.touch(key_id, hash_), context=Context()) for _ in range(5)]
        # In no transaction: within one, who waits is known once and for all.
        await asyncio.create_task(until(lambda: all_wait(db, 5)), context=Context())
    assert sorted(await asyncio.gather(*others)) == [False] * 4 + [True]


async def all_wait(db: Database, number: int) -> bool:
    return await waiting(db) == number


async def test_nobody_waits_for_the_use_to_be_written_down(api: Api, db: Database) -> None:
    key = (await made(api("ann")))["plain_text_key"]
    async with db.transaction() as connection:
        await connection.execute("SELECT FROM api_keys FOR UPDATE")
        asked = asyncio.create_task(service.user_of_key(key, READ), context=Context())
        assert (await asked).id == "ann"
        assert await connection.fetchval("SELECT last_used_at FROM api_keys") is None
    await used(db)


async def used(db: Database) -> None:
    """The one key's use is written down."""
    await until(lambda: db.fetchval("SELECT last_used_at IS NOT NULL FROM api_keys"))


async def test_a_key_costs_one_statement(api: Api, db: Database) -> None:
    key = (await made(api("ann")))["plain_text_key"]
    await service.user_of_key(key, READ)
    await used(db)
    with said() as counted:
        await service.user_of_key(key, READ)
    (statement,) = counted
    plan = await db.fetch(f"EXPLAIN {statement}", [b"x"], b"x")
    assert any("api_keys_hash_key" in row[0] for row in plan)


async def test_keys_outlive_the_key_that_hashed_them(api: Api, db: Database) -> None:
    old, new = "o" * 40, "n" * 40
    with environment_of(AGENTPLAT_SECRET_KEYS=old):
        one, unused = [(await made(api("ann")))["plain_text_key"] for _ in range(2)]
    with environment_of(AGENTPLAT_SECRET_KEYS=f"{new},{old}"):
        assert await service.count_old_keys() == 2
        assert await is_good(one)
        await until(lambda: number_of_old(1))
    with environment_of(AGENTPLAT_SECRET_KEYS=new):
        assert await is_good(one)
        assert not await is_good(unused)


async def number_of_old(number: int) -> bool:
    return await service.count_old_keys() == number


async def all_but(db: Database, missing: int, status: str = "ACTIVE") -> None:
    """Ann gets as many keys as there may be, less some."""
    await db.execute(
        """
        INSERT INTO api_keys (id, user_id, name, head, tail, hash, permissions, status)
        SELECT 'key ' || n, 'ann', 'CI', '', '', sha256(n::text::bytea), '{}', $2 FROM generate_series(1, $1::int) n
        """,
        api_keys.MOST - missing,
        status,
    )


async def test_there_is_an_end_to_keys(api: Api, db: Database) -> None:
    ann = api("ann")
    first = await made(ann)
    await all_but(db, 2)
    await made(ann)
    body = {"name": "CI", "permissions": []}
    response = await ann.post(KEYS, json=body)
    assert (response.status_code, response.json()["code"]) == (409, "too_many_api_keys")
    await ok(ann.delete(f"{KEYS}/{first['api_key']['id']}"))
    await made(ann)


async def test_keys_that_work_are_listed_whatever_was_revoked_since(api: Api, db: Database) -> None:
    ann = api("ann")
    first = (await made(ann))["api_key"]
    await all_but(db, 0, "REVOKED")
    await db.execute("UPDATE api_keys SET created_at = now() - interval '1 day' WHERE id = 'key 1'")
    newest = (await made(ann))["api_key"]
    listed = await ok(ann.get(KEYS))
    assert len(listed) == api_keys.MOST
    assert listed[0] == newest
    assert first in listed
    assert [one["created_at"] for one in listed] == sorted((one["created_at"] for one in listed), reverse=True)


async def test_keys_made_at_once_do_not_exceed_it_together(api: Api, db: Database) -> None:
    """Each waits for whoever makes one for the same user, and counts what that has come to."""
    ann, bob = api("ann"), api("bob")
    await made(ann)
    await all_but(db, 2)
    async with db.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM users WHERE id = 'ann' FOR NO KEY UPDATE")
        body = {"name": "CI", "permissions": []}
        asked = [asyncio.create_task(ann.post(KEYS, json=body)) for _ in range(5)]
        await until(lambda: all_wait(db, 5))
        # Somebody else's keys have nothing to do with it.
        await made(bob)
        await transaction.rollback()
        answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [200] + [409] * 4
    assert await db.fetchval("SELECT count(*) FROM api_keys WHERE user_id = 'ann'") == api_keys.MOST


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"name": ""}, ["body", "name"]),
        ({"name": "x" * 201}, ["body", "name"]),
        ({"name": None}, ["body", "name"]),
        ({"name": " \t "}, ["body", "name"]),
        ({"name": "\0\u2028"}, ["body", "name"]),
        ({"name": "\u200d\ufeff"}, ["body", "name"]),
        ({"permissions": ["X"]}, ["body", "permissions", 0]),
        ({"description": "x" * 2001}, ["body", "description"]),
    ],
)
async def test_unusable_keys_are_refused(api: Api, change: dict[str, Any], loc: list[str]) -> None:
    response = await api("ann").post(KEYS, json={"name": "CI", "permissions": []} | change)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, loc)


async def test_text_that_postgres_cannot_hold(api: Api) -> None:
    answer = await made(api("ann"), name="C\0I\u2028", description="one\ntwo\0")
    assert (answer["api_key"]["name"], answer["api_key"]["description"]) == ("CI", "one\ntwo")


async def test_text_of_all_languages(api: Api) -> None:
    for name in ("👩\u200d💻 builds", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "10\u00a0%"):
        assert (await made(api("ann"), name=name))["api_key"]["name"] == name


# Every operation on one key; a new one has to be added here to pass test_every_operation_is_here.
OPERATIONS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/suspend", None),
    ("POST", "/resume", None),
    ("PUT", "/permissions", {"permissions": []}),
]


@pytest.mark.parametrize(("method", "step", "body"), OPERATIONS)
async def test_foreign_and_unknown_keys_get_the_same_answer(
    api: Api, db: Database, method: str, step: str, body: Any
) -> None:
    stored = (await made(api("ann")))["api_key"]
    before = await db.fetch("SELECT * FROM api_keys")
    bob = api("bob")
    answers = set()
    for key_id in (stored["id"], NOBODYS_ID, "not-an-id", "%00"):
        response = await bob.request(method, f"{KEYS}/{key_id}{step}", json=body)
        answers.add((response.status_code, response.text))
    assert len(answers) == 1
    assert answers.pop()[0] == 404
    assert await db.fetch("SELECT * FROM api_keys") == before


async def test_every_operation_is_here(api: Api) -> None:
    document = (await api().get("/openapi.json")).json()
    served = {
        (method.upper(), path.removeprefix(f"{KEYS}/{{key_id}}"))
        for path, item in document["paths"].items()
        for method in item
        if path.startswith(f"{KEYS}/")
    }
    assert served == {(method, step) for method, step, _ in OPERATIONS}


async def test_administrators_make_no_keys_for_others(api: Api) -> None:
    await ok(api("ann").get(KEYS))
    act = {"X-Act-As-User-Id": "ann"}
    body = {"name": "mine", "permissions": ["IDENTITY"]}
    response = await api("root", role="admin").post(KEYS, json=body, headers=act)
    assert (response.status_code, response.json()["code"]) == (403, "in_person_only")
