"""Credentials over HTTP: what goes in, what comes out, and whose they are."""

import asyncio
from contextvars import Context
from typing import Any

import pytest

from agentplat.infra.crypto import DecryptionFailed
from agentplat.infra.db import Database
from agentplat.integrations import service
from agentplat.integrations.rules import MASK
from tests.support.api import NOBODYS_ID, Api
from tests.support.conditions import until
from tests.support.locks import waiting
from tests.support.statements import said
from tests.support.switches import environment_of
from tests.support.vault import fingerprint

OPENAI = "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a"
OLLAMA = "744fdc56-071a-4761-b5a5-0af0ce10a2b5"
URL = "/api/integrations"
BODIES: dict[str, dict[str, Any]] = {
    "api_key": {"api_key": "s3cret-one", "expires_at": 1_900_000_000},
    "oauth2": {
        "access_token": "s3cret-one",
        "refresh_token": "s3cret-two",
        "scopes": ["read", "write"],
        "username": "ann-at-github",
        "metadata": {"team": 7},
    },
    "user_password": {"username": "s3cret-one", "password": "s3cret-two"},
    "host_scoped": {"host": "*.example.com", "headers": {"X-Token": "s3cret-one", "Authorization": "s3cret-two"}},
}
SHOWN: dict[str, dict[str, Any]] = {
    "api_key": {"api_key": MASK, "expires_at": 1_900_000_000},
    "oauth2": {
        "access_token": MASK,
        "access_token_expires_at": None,
        "refresh_token": MASK,
        "refresh_token_expires_at": None,
        "scopes": ["read", "write"],
        "username": "ann-at-github",
        "metadata": {"team": 7},
    },
    "user_password": {"username": MASK, "password": MASK},
    "host_scoped": {"host": "*.example.com", "headers": {"X-Token": MASK, "Authorization": MASK}},
}
REVEALED = {
    "api_key": ["s3cret-one"],
    "oauth2": ["s3cret-one"],
    "user_password": ["s3cret-one", "s3cret-two"],
    "host_scoped": ["s3cret-one", "s3cret-two"],
}


async def made(client: Any, kind: str = "api_key", provider: str = "github", **members: Any) -> dict[str, Any]:
    body = {"type": kind, "provider": provider, "title": "Mine", **BODIES[kind], **members}
    response = await client.post(f"{URL}/{provider}/credentials", json=body)
    assert response.status_code == 201, response.text
    stored: dict[str, Any] = response.json()
    return stored


async def own(client: Any, path: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"{URL}{path}/credentials")
    assert response.status_code == 200, response.text
    return [one for one in response.json() if not one["title"].startswith("Use Credits for ")]


@pytest.mark.parametrize("kind", BODIES)
async def test_each_type_goes_in_and_its_secrets_never_come_out(api: Api, db: Database, kind: str) -> None:
    ann = api("ann")
    stored = await made(ann, kind)
    members = {"id": stored["id"], "provider": "github", "type": kind, "title": "Mine"}
    assert stored == members | SHOWN[kind]
    one = await ann.get(f"{URL}/github/credentials/{stored['id']}")
    assert (one.status_code, one.json()) == (200, stored)
    (listed,) = await own(ann)
    names = {"oauth2": ("scopes", "username"), "host_scoped": ("host",)}.get(kind, ())
    assert listed == members | {"scopes": None, "username": None, "host": None} | {
        name: BODIES[kind][name] for name in names
    }
    assert await own(ann, "/github") == [listed]
    assert await own(ann, "/notion") == []
    row = await db.fetchval("SELECT c::text || encode(sealed, 'escape') FROM credentials c")
    assert "s3cret" not in row
    given = await service.acquire("ann", stored["id"])
    assert (service.kind(given), given.provider, given.title) == (kind, "github", "Mine")
    assert fingerprint(*(value.reveal() for value in _secrets(given))) == fingerprint(*REVEALED[kind])
    deleted = await ann.delete(f"{URL}/github/credentials/{stored['id']}")
    assert deleted.json() == {"deleted": True, "revoked": False if kind == "oauth2" else None}
    assert await own(ann) == []
    assert (await ann.delete(f"{URL}/github/credentials/{stored['id']}?force=true")).status_code == 404


def _secrets(given: Any) -> list[Any]:
    if service.kind(given) == "host_scoped":
        return list(given.headers.values())
    names = {"api_key": ["api_key"], "oauth2": ["access_token"], "user_password": ["username", "password"]}
    return [getattr(given, name) for name in names[service.kind(given)]]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_somebody_elses_is_not_there(api: Api, method: str) -> None:
    ann, bob = api("ann"), api("bob")
    stored = await made(ann)
    for cred_id in (stored["id"], NOBODYS_ID, "x" * 500, "%00", OPENAI):
        response = await bob.request(method, f"{URL}/github/credentials/{cred_id}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), cred_id
    assert (await ann.request(method, f"{URL}/notion/credentials/{stored['id']}")).status_code == 404
    with pytest.raises(service.CredentialsUnavailable):
        await service.acquire("bob", stored["id"])
    assert await service.find("bob", [stored["id"]]) == {}
    assert await own(bob) == []
    assert len(await own(ann)) == 1
    assert (await api().request(method, f"{URL}/github/credentials/{stored['id']}")).status_code == 401


async def test_an_id_may_be_chosen_once_per_user(api: Api) -> None:
    ann, bob = api("ann"), api("bob")
    assert (await made(ann, id="mine"))["id"] == "mine"
    assert (await made(bob, id="mine", api_key="s3cret-bob"))["id"] == "mine"
    for taken in ("mine", OPENAI):
        refused = await ann.post(f"{URL}/notion/credentials", json={"provider": "x", "api_key": "k", "id": taken})
        assert (refused.status_code, refused.json()["code"]) == (409, "credentials_exist")
    given = await service.acquire("bob", "mine")
    assert fingerprint(*(one.reveal() for one in _secrets(given))) == fingerprint("s3cret-bob")


async def test_changes_at_once_do_not_undo_one_another(api: Api) -> None:
    ann = api("ann")
    ids = [one["id"] for one in await asyncio.gather(*(made(ann) for _ in range(10)))]
    gone = asyncio.gather(*(ann.delete(f"{URL}/github/credentials/{one}") for one in ids[:5]))
    more = asyncio.gather(*(made(ann) for _ in range(5)))
    await gone
    added = {one["id"] for one in await more}
    assert {one["id"] for one in await own(ann)} == {*ids[5:], *added}


async def test_nobody_has_more_than_there_may_be(api: Api, db: Database) -> None:
    ann = api("ann")
    await made(ann)
    await db.execute(
        """
        INSERT INTO credentials (user_id, id, provider, type, sealed)
        SELECT 'ann', n::text, 'github', 'api_key', '' FROM generate_series(1, $1) AS n
        """,
        service.MOST - 3,
    )
    body = {"provider": "github", **BODIES["api_key"]}
    async with db.transaction() as connection:
        # Who adds some waits here, so all have come before the first is counted.
        await connection.execute("SELECT FROM users WHERE id = 'ann' FOR UPDATE")
        adding = [
            asyncio.create_task(ann.post(f"{URL}/github/credentials", json=body), context=Context()) for _ in range(5)
        ]
        await asyncio.create_task(until(lambda: all_wait(db, 5)), context=Context())
    answers = [await one for one in adding]
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"too_many_credentials"}
    assert await db.fetchval("SELECT count(*) FROM credentials") == service.MOST
    assert (await api("bob").post(f"{URL}/github/credentials", json=body)).status_code == 201
    assert (await ann.delete(f"{URL}/github/credentials/1")).status_code == 200
    await made(ann)


async def all_wait(db: Database, number: int) -> bool:
    return await waiting(db) == number


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, ["api_key"]),
        ({"type": "oauth2", "access_token": "x"}, ["scopes"]),
        ({"type": "user_password", "username": "x"}, ["password"]),
        ({"type": "host_scoped", "headers": {}}, ["host"]),
        ({"api_key": ""}, ["api_key"]),
        ({"api_key": MASK}, ["api_key"]),
        ({"type": "host_scoped", "host": "a", "headers": {"x": MASK}}, ["headers", "x"]),
        ({"type": "host_scoped", "host": "a", "headers": {"x": "a\r\nb: c"}}, ["headers", "..."]),
        ({"type": "host_scoped", "host": "a b"}, ["host"]),
        ({"api_key": "x", "title": "a\0b"}, ["title"]),
        ({"api_key": "x", "id": "../x"}, ["id"]),
        ({"api_key": "x", "id": "x\n"}, ["id"]),
        ({"api_key": "x", "id": "\n"}, ["id"]),
        ({"api_key": "x", "id": ".."}, ["id"]),
        ({"api_key": "x", "title": "x\n"}, ["title"]),
        ({"type": "host_scoped", "host": "a\n"}, ["host"]),
        ({"type": "host_scoped", "host": "a", "headers": {"x": "a\n"}}, ["headers", "..."]),
        ({"type": "host_scoped", "host": "a", "headers": {"x\n": "a"}}, ["headers"]),
        ({"type": "user_password", "username": "x\n", "password": "x"}, ["username"]),
        ({"type": "oauth2", "access_token": "x", "scopes": ["x\n"]}, ["scopes", 0]),
        ({"api_key": "x", "expires_at": 10**15}, ["expires_at"]),
        ({"type": "magic", "api_key": "x"}, ["type"]),
    ],
)
async def test_what_can_not_be_kept_is_named(api: Api, body: dict[str, Any], place: list[str]) -> None:
    response = await api("ann").post(f"{URL}/github/credentials", json={"provider": "github", **body})
    assert response.status_code == 422, response.text
    assert response.json()["detail"][0]["loc"] == ["body", *place]
    assert await own(api("ann")) == []


async def test_hostile_providers(api: Api) -> None:
    for provider in ("%00", "a%20b", "a%0A", "%2E%2E", "x" * 101):
        for response in (
            await api("ann").get(f"{URL}/{provider}/credentials"),
            await api("ann").post(f"{URL}/{provider}/credentials", json=BODIES["api_key"] | {"provider": "x"}),
        ):
            assert response.status_code == 422, response.text
    large = {"provider": "x", "access_token": "x", "type": "oauth2", "scopes": [], "metadata": {"a": "x" * 200_000}}
    assert (await api("ann").post(f"{URL}/x/credentials", json=large)).status_code == 413


async def test_what_does_not_open_is_an_error_and_stays(api: Api, db: Database) -> None:
    ann = api("ann")
    stored = await made(ann)
    await made(ann)
    await db.execute("UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE id <> $1)", stored["id"])
    response = await ann.get(f"{URL}/github/credentials/{stored['id']}")
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert len(await own(ann)) == 2
    with environment_of(AGENTPLAT_SECRET_KEYS="n" * 40):
        await made(ann)
    assert await db.fetchval("SELECT count(*) FROM credentials") == 3


async def test_keys_take_turns(api: Api, db: Database) -> None:
    old, new = "o" * 40, "n" * 40
    ann = api("ann")
    with environment_of(AGENTPLAT_SECRET_KEYS=old):
        stored = [await made(ann, kind) for kind in BODIES]
    with environment_of(AGENTPLAT_SECRET_KEYS=f"{new},{old}"):
        await made(ann)
        assert await service.seal_anew() == len(BODIES)
        assert await service.seal_anew() == 0
    with environment_of(AGENTPLAT_SECRET_KEYS=new):
        for one in stored:
            given = await service.acquire("ann", one["id"])
            assert [secret.reveal() for secret in _secrets(given)] == REVEALED[one["type"]]


async def test_one_that_does_not_open_keeps_no_other_from_a_new_key(api: Api, db: Database) -> None:
    old, new = "o" * 40, "n" * 40
    ann = api("ann")
    with environment_of(AGENTPLAT_SECRET_KEYS=old):
        stored = [await made(ann, kind) for kind in BODIES]
    broken = min(one["id"] for one in stored)
    await db.execute("UPDATE credentials SET sealed = sealed || '\\x00' WHERE id = $1", broken)
    sealed = await db.fetchval("SELECT sealed FROM credentials WHERE id = $1", broken)
    said_of_it = f"3 credentials were sealed anew, and 1 can't be:\n.* {broken} "
    with (
        environment_of(AGENTPLAT_SECRET_KEYS=f"{new},{old}"),
        pytest.raises(DecryptionFailed, match=said_of_it),
    ):
        await service.seal_anew()
    with environment_of(AGENTPLAT_SECRET_KEYS=new):
        for one in stored:
            response = await ann.get(f"{URL}/github/credentials/{one['id']}")
            assert response.status_code == (500 if one["id"] == broken else 200)
    assert await db.fetchval("SELECT sealed FROM credentials WHERE id = $1", broken) == sealed


async def test_lookups_take_one_statement(api: Api) -> None:
    ann = api("ann")
    ids = [(await made(ann))["id"] for _ in range(3)]
    with said() as statements:
        assert set(await service.find("ann", [*ids, OLLAMA, "unknown", "\0"])) == {*ids, OLLAMA}
        assert len(statements) == 1
        assert set(await service.find("ann", [OLLAMA])) == {OLLAMA}
        await ann.get(f"{URL}/credentials")
    assert len(statements) == 2


async def test_the_platforms_own(api: Api) -> None:
    with environment_of(GROQ_API_KEY="s3cret", WEBSHARE_PROXY_USERNAME="u", WEBSHARE_PROXY_PASSWORD="s3cret"):
        response = await api("ann").get(f"{URL}/credentials")
        found = {one["provider"]: one for one in response.json()}
        assert set(found) == {"ollama", "groq", "webshare_proxy"}
        assert found["groq"]["title"] == "Use Credits for Groq"
        assert found["webshare_proxy"]["type"] == "user_password"
        for one in found.values():
            for method in ("GET", "DELETE"):
                path = f"{URL}/{one['provider']}/credentials/{one['id']}"
                assert (await api("ann").request(method, path)).status_code == 404
        assert "s3cret" not in response.text
        given = await service.acquire("ann", found["webshare_proxy"]["id"])
        assert [one.reveal() for one in _secrets(given)] == ["u", "s3cret"]
    with environment_of(WEBSHARE_PROXY_PASSWORD="s3cret"):
        assert [one["provider"] for one in (await api("ann").get(f"{URL}/credentials")).json()] == ["ollama"]


async def test_providers_are_public(api: Api) -> None:
    names = (await api().get(f"{URL}/providers")).json()
    assert names == sorted(names)
    assert {"github", "smtp", "http", "vault"} <= set(names)  # the last is a block's of these tests
    assert len(names) >= 41
    assert (await api().get(f"{URL}/providers/names")).json() == {"providers": names}
    constants = (await api().get(f"{URL}/providers/constants")).json()
    assert constants == {"PROVIDER_NAMES": {name.upper(): name for name in names}}
    assert (await api().get(f"{URL}/providers/enum-example")).json()["provider"] in names
    system = (await api().get(f"{URL}/providers/system")).json()
    assert len(system) == 27
    assert set(system) <= set(names)
