"""Accounts, passwords and sessions over the API."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import jwt
import pytest
from redis.asyncio import Redis

from agentplat.accounts import passwords
from agentplat.accounts.errors import SignInBusy
from agentplat.infra.db import Database
from tests.support.api import NOBODYS_ID, Api
from tests.support.conditions import until
from tests.support.locks import waiting
from tests.support.services import JWT_KEY
from tests.support.sign_in import PASSWORD, answer, bearer, by_password, refresh, refused, service_key, sign_up
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")


# --- accounts and passwords


async def test_signing_up_is_signing_in(api: Api, db: Database) -> None:
    client = api()
    session = await sign_up(
        client, "Ann@Example.com", data={"name": "Ann"}, gotrue_meta_security={}, code_challenge="x"
    )
    user = session["user"]
    assert (user["email"], user["role"], user["aud"], user["user_metadata"]) == (
        "ann@example.com",
        "authenticated",
        "authenticated",
        {"name": "Ann"},
    )
    assert (session["token_type"], session["expires_in"]) == ("bearer", 3600)
    assert abs(session["expires_at"] - time.time() - 3600) < 60
    claims = jwt.decode(session["access_token"], JWT_KEY, ["HS256"], audience="authenticated")
    assert (claims["sub"], claims["email"], claims["role"]) == (user["id"], "ann@example.com", "authenticated")
    assert claims["user_metadata"] == {"name": "Ann"}
    assert claims["exp"] == session["expires_at"]
    account = await answer(client.post("/api/auth/user", headers=bearer(session)))
    assert (account["id"], account["name"]) == (user["id"], "Ann")
    stored = await db.fetchval("SELECT string_agg(l::text, '') FROM logins l")
    assert PASSWORD not in stored
    assert "$argon2id$" in stored


async def test_a_password_opens_a_session(api: Api) -> None:
    client = api()
    first = await sign_up(client)
    second = await answer(by_password(client, "ANN@example.com"))
    assert second["user"]["id"] == first["user"]["id"]
    assert second["refresh_token"] != first["refresh_token"]
    seen = await answer(client.get("/auth/v1/user", headers=bearer(second)))
    assert seen["last_sign_in_at"] == second["user"]["last_sign_in_at"] > first["user"]["last_sign_in_at"]


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ann@example.com", "wrong horse battery"),
        ("ann@example.com", ""),
        ("ann@example.com", "x" * 100_000),
        ("nobody@example.com", PASSWORD),
        ("passwordless@example.com", PASSWORD),
        ("a\0@b.c", PASSWORD),
        ("", ""),
    ],
)
async def test_a_wrong_password_and_an_unknown_address_look_alike(api: Api, email: str, password: str) -> None:
    client = api()
    await sign_up(client)
    await answer(api("passwordless").post("/api/auth/user"))
    assert await refused(by_password(client, email, password)) == (400, "invalid_credentials")


@pytest.fixture
async def queue() -> AsyncIterator[list[asyncio.Task[str]]]:
    """Hashing stands still, and as many wait for it as may."""
    resumed = threading.Event()
    for _ in range(passwords.AT_ONCE):
        passwords._threads.submit(resumed.wait)
    waiting = [asyncio.create_task(passwords.hashed(PASSWORD)) for _ in range(passwords.MOST_WAITING)]
    try:
        # Each goes as far as to its place in the queue.
        await asyncio.sleep(0)
        yield waiting
    finally:
        for one in waiting:
            one.cancel()
        resumed.set()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_only_so_many_wait_for_a_hash(queue: list[asyncio.Task[str]]) -> None:
    with pytest.raises(SignInBusy):
        await passwords.hashed(PASSWORD)
    # Who leaves makes room.
    queue[0].cancel()
    await asyncio.wait(queue[:1])
    late = asyncio.create_task(passwords.hashed(PASSWORD))
    await asyncio.sleep(0)
    with pytest.raises(SignInBusy):
        await passwords.hashed(PASSWORD)
    late.cancel()


async def test_unknown_users_wait_for_a_hash_like_others(api: Api, db: Database, queue: Any) -> None:
    """Whether somebody has an account can't be told from how long an answer takes."""
    await db.execute("INSERT INTO users (id, email) VALUES ('a', 'passwordless@example.com')")
    await db.execute("INSERT INTO users (id, email) VALUES ('b', 'ann@example.com')")
    await db.execute("INSERT INTO logins (user_id, password_hash) VALUES ('b', 'a hash')")
    for email in ("ann@example.com", "passwordless@example.com", "nobody@example.com", "a\0@b.c"):
        assert await refused(by_password(api(), email)) == (503, "busy")


async def test_the_hash_of_nobody_costs_what_others_do() -> None:
    assert not passwords.is_dated(passwords._nobodys())
    assert not await passwords.matches(None, "the password of users that there are not")


@pytest.mark.parametrize("body", [{}, {"email": "ann@example.com"}, {"refresh_token": None}])
async def test_a_grant_needs_its_members(api: Api, body: Any) -> None:
    client = api()
    for grant, code in (
        ("password", "invalid_credentials"),
        ("refresh_token", "refresh_token_not_found"),
        ("pkce", "flow_state_not_found"),
    ):
        assert (await refused(client.post(f"/auth/v1/token?grant_type={grant}", json=body)))[1] == code
    for grant in ("", "?grant_type=client_credentials"):
        assert (await client.post(f"/auth/v1/token{grant}", json=body)).status_code == 422


async def test_an_address_signs_up_once(api: Api, db: Database) -> None:
    client = api()
    body = {"email": "ann@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(client.post("/auth/v1/signup", json=body) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [200, 422, 422, 422, 422]
    assert {one.json()["code"] for one in answers if one.status_code == 422} == {"user_already_exists"}
    assert await db.fetchval("SELECT count(*) FROM users") == await db.fetchval("SELECT count(*) FROM logins") == 1
    # Nor over somebody who came with a token of another issuer.
    await answer(api("bob").post("/api/auth/user"))
    assert await refused(client.post("/auth/v1/signup", json=body | {"email": "BOB@example.com"})) == (
        422,
        "user_already_exists",
    )


@pytest.mark.parametrize("password", ["", "short67", "x" * 257])
async def test_weak_passwords_are_refused(api: Api, password: str) -> None:
    client = api()
    body = {"email": "ann@example.com", "password": password}
    assert await refused(client.post("/auth/v1/signup", json=body)) == (422, "weak_password")
    session = await sign_up(client)
    call = client.put("/auth/v1/user", json={"password": password}, headers=bearer(session))
    assert await refused(call) == (422, "weak_password")


async def test_every_refusal_is_one_whose_code_clients_read(api: Api) -> None:
    client = api()
    session = await sign_up(client)
    await sign_up(client, "bob@example.com")
    for call, refusal in (
        (client.get("/auth/v1/user"), (401, "unauthenticated")),
        (client.get("/auth/v1/nothing"), (404, "not_found")),
        (client.post("/auth/v1/token?grant_type=magic", json={}), (422, "invalid")),
        (client.post("/auth/v1/signup", content="{"), (422, "invalid")),
        (client.put("/auth/v1/user", json={"email": "bob@example.com"}, headers=bearer(session)), (409, "email_taken")),
        (client.get(f"/auth/v1/admin/users/{NOBODYS_ID}", headers=service_key()), (404, "user_not_found")),
    ):
        assert await refused(call) == refusal
    # What isn't GoTrue's is no business of its clients.
    assert "x-supabase-api-version" not in (await client.get("/api/graphs")).headers


async def test_browsers_may_read_that_there_are_codes(api: Api) -> None:
    headers = {"Origin": "http://localhost:3000"}
    response = await api().post("/auth/v1/token?grant_type=password", json={}, headers=headers)
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    assert "x-supabase-api-version" in exposed


async def test_a_refusal_names_what_was_sent(api: Api) -> None:
    session = await sign_up(api())
    refused = await api().post("/auth/v1/logout?scope=everywhere", headers=bearer(session))
    assert refused.json()["detail"][0]["loc"] == ["query", "scope"]


async def test_signing_up_can_be_closed(api: Api) -> None:
    body = {"email": "ann@example.com", "password": PASSWORD}
    with environment_of(AGENTPLAT_SIGN_UP="false"):
        assert await refused(api().post("/auth/v1/signup", json=body)) == (422, "signup_disabled")
        made = await api().post("/auth/v1/admin/users", json=body, headers=service_key())
        assert made.status_code == 200
        await answer(by_password(api()))


async def test_guessing_is_limited_per_address(api: Api) -> None:
    client = api()
    await sign_up(client)
    guesses = [by_password(client, password=f"guess number {number}") for number in range(14)]
    codes = [(await refused(guess))[1] for guess in guesses]
    assert codes == ["invalid_credentials"] * 10 + ["over_request_rate_limit"] * 4
    # The right one comes too late as well, or the limit would say which it was.
    locked = await by_password(client)
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= 300
    assert (await refused(by_password(client, "nobody@example.com")))[0] == 400


async def test_guesses_at_once_are_as_limited(api: Api) -> None:
    client = api()
    await sign_up(client)
    tried = await asyncio.gather(*(by_password(client, password=f"guess number {number}") for number in range(25)))
    assert sorted(one.status_code for one in tried) == [400] * 10 + [429] * 15


async def test_who_knows_the_password_may_sign_in_many_times_at_once(api: Api) -> None:
    client = api()
    await sign_up(client)
    tried = await asyncio.gather(*(by_password(client) for _ in range(25)))
    assert [one.status_code for one in tried] == [200] * 25


async def test_an_address_is_one_in_whatever_letters(api: Api) -> None:
    """Postgres makes an i of a dotted I, Python something else: that must not give anybody more attempts."""
    client = api()
    await sign_up(client, "ann@iiii.com")
    spelled = ("ann@iiii.com", "ann@\u0130iii.com", "Ann@i\u0130ii.com")
    codes = [(await refused(by_password(client, one, "a guess")))[1] for one in spelled * 4]
    assert codes == ["invalid_credentials"] * 10 + ["over_request_rate_limit"] * 2
    assert (await by_password(client, "ann@ii\u0130i.com")).status_code == 429


async def test_who_knows_the_password_is_not_counted(api: Api) -> None:
    client = api()
    await sign_up(client)
    for _ in range(12):
        await answer(by_password(client))


async def test_without_redis_people_still_sign_in(api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await redis.connection_pool.disconnect()
    client = api()
    monkeypatch.setitem(redis.connection_pool.connection_kwargs, "path", "/nowhere")
    monkeypatch.setitem(redis.connection_pool.connection_kwargs, "port", 1)
    await sign_up(client)
    await answer(by_password(client))
    monkeypatch.undo()
    await redis.connection_pool.disconnect()


# --- somebody who is in


async def test_a_new_password_ends_the_other_sessions(api: Api) -> None:
    client = api()
    here, there = await sign_up(client), await answer(by_password(client))
    changed = await answer(client.put("/auth/v1/user", json={"password": "a new password"}, headers=bearer(here)))
    assert changed["id"] == here["user"]["id"]
    await answer(refresh(client, here["refresh_token"]))
    assert await refused(refresh(client, there["refresh_token"])) == (400, "refresh_token_not_found")
    assert await refused(by_password(client)) == (400, "invalid_credentials")
    await answer(by_password(client, password="a new password"))


@pytest.mark.parametrize("first", ["sign-in", "change"])
async def test_the_old_password_lets_nobody_in_while_it_is_replaced(api: Api, db: Database, first: str) -> None:
    """Who has proven it already, and waits to be let in, is out as well."""
    client = api()
    here = await sign_up(client)
    steps = {
        "sign-in": lambda: by_password(client),
        "change": lambda: client.put("/auth/v1/user", json={"password": "a new password"}, headers=bearer(here)),
    }
    async with db.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM logins FOR UPDATE")
        begun = {}
        for number, name in enumerate(sorted(steps, key=lambda name: name != first), start=1):
            begun[name] = asyncio.create_task(steps[name]())
            await until(partial(as_many_wait, db, number))
        await transaction.rollback()
        signed_in, changed = await begun["sign-in"], await begun["change"]
    assert changed.status_code == 200
    if first == "sign-in":
        assert await refused(refresh(client, signed_in.json()["refresh_token"])) == (400, "refresh_token_not_found")
    else:
        assert (signed_in.status_code, signed_in.json()["code"]) == (400, "invalid_credentials")
    assert await refused(by_password(client)) == (400, "invalid_credentials")
    await answer(refresh(client, here["refresh_token"]))


async def as_many_wait(db: Database, number: int) -> bool:
    return await waiting(db) == number


@pytest.mark.parametrize(
    ("said", "name"),
    [({}, "Ann"), ({"age": 7}, "Ann"), ({"name": " Bob\0 "}, "Bob"), ({"name": ""}, None), ({"name": None}, None)],
)
async def test_a_name_is_what_was_said_last(api: Api, said: Any, name: str | None) -> None:
    session = await sign_up(api(), data={"name": "Ann"})
    for _ in range(2):
        changed = await answer(api().put("/auth/v1/user", json={"data": said}, headers=bearer(session)))
        assert changed["user_metadata"].get("name") == name


async def test_no_name_is_cut(api: Api) -> None:
    body = {"email": "ann@example.com", "password": PASSWORD, "data": {"name": "x" * 201}}
    refused = await api().post("/auth/v1/signup", json=body)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "data", "name"])


async def test_an_update_happens_whole_or_not_at_all(api: Api) -> None:
    client = api()
    await sign_up(client, "bob@example.com")
    session = await sign_up(client)
    wanted = {"email": "bob@example.com", "password": "a new password", "data": {"name": "Bob"}}
    response = await client.put("/auth/v1/user", json=wanted, headers=bearer(session))
    assert (response.status_code, response.json()["code"]) == (409, "email_taken")
    seen = await answer(by_password(client))
    assert seen["user"]["user_metadata"] == {}


async def test_tokens_of_others_are_users_too(api: Api) -> None:
    seen = await answer(api("ann", user_metadata={"name": "Ann"}).get("/auth/v1/user"))
    assert (seen["id"], seen["email"], seen["role"], seen["user_metadata"]) == (
        "ann",
        "ann@example.com",
        "authenticated",
        {"name": "Ann"},
    )


async def test_nobody_changes_a_password_as_somebody_else(api: Api) -> None:
    client = api()
    session = await sign_up(client)
    act = {"X-Act-As-User-Id": session["user"]["id"]}
    root = api("root", role="admin")
    assert (await answer(root.get("/auth/v1/user", headers=act)))["id"] == session["user"]["id"]
    for method, path in (("PUT", "/auth/v1/user"), ("POST", "/auth/v1/logout")):
        response = await root.request(method, path, json={"password": "mine by now"}, headers=act)
        assert (response.status_code, response.json()["code"]) == (403, "in_person_only")
    await answer(by_password(client))
