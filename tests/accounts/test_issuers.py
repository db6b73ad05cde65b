"""Administrators, backends with the service-role key, and tokens that somebody else makes."""

from typing import Any

import jwt
import pytest

from agentplat.infra.db import Database
from agentplat.infra.keys import new_private_key
from tests.support.api import NOBODYS_ID, Api
from tests.support.sign_in import PASSWORD, answer, bearer, by_password, refused, service_key, sign_up
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")


# --- administrators


async def test_administrators_make_and_see_users(api: Api) -> None:
    body = {"email": "Seed@example.com", "password": PASSWORD, "email_confirm": True, "role": "admin"}
    made = await answer(api().post("/auth/v1/admin/users", json=body, headers=service_key()))
    assert (made["email"], made["role"]) == ("seed@example.com", "admin")
    session = await answer(by_password(api(), "seed@example.com"))
    path = f"/auth/v1/admin/users/{made['id']}"
    seen = await answer(api().get(path, headers=bearer(session)))
    assert seen["id"] == made["id"]
    unknown = await api().get(f"/auth/v1/admin/users/{NOBODYS_ID}", headers=service_key())
    assert unknown.status_code == 404
    assert (await api().post("/auth/v1/admin/users", json=body, headers=service_key())).status_code == 422


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"role": "anon"}, 401),
        ({"exp": 1}, 401),
        ({"exp": None}, 401),
        ({"sub": "ann", "aud": "authenticated"}, 403),
        ({"role": "authenticated", "sub": "ann", "aud": "authenticated"}, 403),
    ],
)
async def test_nobody_else_does(api: Api, claims: dict[str, Any], status: int) -> None:
    headers = service_key(**claims)
    body = {"email": "x@example.com", "password": PASSWORD}
    assert (await api().post("/auth/v1/admin/users", json=body, headers=headers)).status_code == status
    assert (await api().get(f"/auth/v1/admin/users/{NOBODYS_ID}", headers=headers)).status_code == status


async def test_the_service_key_opens_nothing_else(api: Api, db: Database) -> None:
    assert (await api().get("/api/graphs", headers=service_key())).status_code == 401
    assert (await api().get("/auth/v1/user", headers=service_key())).status_code == 401
    assert await db.fetchval("SELECT count(*) FROM users") == 0


# --- somebody else's tokens


async def test_with_an_issuer_of_its_own_nobody_signs_in_here(api: Api, db: Database) -> None:
    client = api()
    with environment_of(JWT_ISSUER="https://issuer.example.com/auth/v1"):
        for path, body in (
            ("signup", {"email": "a@b.cd", "password": PASSWORD}),
            ("token?grant_type=password", {"email": "a@b.cd", "password": PASSWORD}),
            ("token?grant_type=refresh_token", {"refresh_token": "x"}),
            ("recover", {"email": "a@b.cd"}),
        ):
            assert await refused(client.post(f"/auth/v1/{path}", json=body)) == (404, "sign_in_elsewhere")
        assert (await api("ann").get("/api/graphs")).status_code == 401
        theirs = api("ann", iss="https://issuer.example.com/auth/v1")
        assert (await theirs.get("/api/graphs")).status_code == 200
        assert (await theirs.put("/auth/v1/user", json={"password": "a new password"})).status_code == 404


async def test_a_key_pair_signs_and_others_can_check(api: Api) -> None:
    client = api()
    with environment_of(JWT_SIGN_ALGORITHM="ES256", JWT_VERIFY_KEY=""):
        session = await sign_up(client)
        (published,) = (await answer(client.get("/auth/v1/.well-known/jwks.json")))["keys"]
        assert "d" not in published
        key = jwt.PyJWK(published)
        claims = jwt.decode(session["access_token"], key, ["ES256"], audience="authenticated")
        assert claims["sub"] == session["user"]["id"]
        assert jwt.get_unverified_header(session["access_token"])["kid"] == published["kid"]
        await answer(client.get("/auth/v1/user", headers=bearer(session)))
        # A secret of any kind signs nothing here, and neither does the public key taken for one.
        assert (await api("ann").get("/api/graphs")).status_code == 401
    assert await answer(client.get("/auth/v1/.well-known/jwks.json")) == {"keys": []}


async def test_key_pairs_take_turns(api: Api) -> None:
    client, old, new = api(), new_private_key(), new_private_key()
    with environment_of(JWT_SIGN_ALGORITHM="ES256", JWT_VERIFY_KEY="", JWT_SIGN_KEY=old):
        session = await sign_up(client)
        before = (await answer(client.get("/auth/v1/.well-known/jwks.json")))["keys"]
    # The pair will do where its public part is asked for; in one line, as files of variables have it.
    rotated = {"JWT_SIGN_KEY": new, "JWT_PREVIOUS_KEYS": old.replace("\n", "\\n")}
    with environment_of(JWT_SIGN_ALGORITHM="ES256", JWT_VERIFY_KEY="", **rotated):
        await answer(client.get("/auth/v1/user", headers=bearer(session)))
        after = (await answer(client.get("/auth/v1/.well-known/jwks.json")))["keys"]
        assert after[1:] == before
        assert not any("d" in one for one in after)
        fresh = await answer(by_password(client))
        assert jwt.get_unverified_header(fresh["access_token"])["kid"] == after[0]["kid"]


async def test_a_private_key_is_not_published_wherever_it_is_configured(api: Api) -> None:
    with environment_of(JWT_SIGN_ALGORITHM="ES256", JWT_VERIFY_KEY=new_private_key()):
        (published,) = (await answer(api().get("/auth/v1/.well-known/jwks.json")))["keys"]
    assert "d" not in published
