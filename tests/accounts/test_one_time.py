"""Links that prove that somebody reads the mails of an address."""

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agentplat.accounts import one_time, service
from agentplat.accounts.models import OneTimeKind
from agentplat.infra.crypto import DecryptionFailed
from agentplat.infra.db import Database
from tests.support.api import Api
from tests.support.sign_in import answer, bearer, by_password, refresh, refused, sign_up
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")


async def recover(client: Any, email: str = "ann@example.com", to: str = "") -> Any:
    return await answer(client.post(f"/auth/v1/recover{to}", json={"email": email, "code_challenge": "x"}))


async def token_of(email: str | None = None) -> str:
    (link,) = await service.links(email)
    return parse_qs(urlsplit(link.link).query)["token_hash"][0]


def verify(client: Any, kind: str, token: str) -> Any:
    return client.post("/auth/v1/verify", json={"type": kind, "token_hash": token})


async def test_a_forgotten_password_is_replaced(api: Api, db: Database) -> None:
    client = api()
    before = await sign_up(client)
    assert await recover(client) == {}
    token = await token_of("Ann@example.com")
    assert token.encode() not in await db.fetchval("SELECT hash || sealed FROM one_time_tokens")
    session = await answer(verify(client, "recovery", token))
    assert session["user"]["id"] == before["user"]["id"]
    await answer(client.put("/auth/v1/user", json={"password": "a new password"}, headers=bearer(session)))
    assert await refused(by_password(client)) == (400, "invalid_credentials")
    assert await refused(refresh(client, before["refresh_token"])) == (400, "refresh_token_not_found")
    await answer(by_password(client, password="a new password"))


async def test_a_link_works_once_whoever_comes_first(api: Api) -> None:
    client = api()
    await sign_up(client)
    await recover(client)
    token = await token_of()
    tried = await asyncio.gather(*(verify(client, "recovery", token) for _ in range(6)))
    assert sorted(one.status_code for one in tried) == [200] + [403] * 5
    assert {one.json()["code"] for one in tried if not one.is_success} == {"otp_expired"}


async def test_links_expire_and_are_replaced(api: Api, db: Database) -> None:
    client = api()
    await sign_up(client)
    await recover(client)
    first = await token_of()
    await recover(client)
    second = await token_of()
    assert await refused(verify(client, "recovery", first)) == (403, "otp_expired")
    assert await refused(verify(client, "email_change", second)) == (403, "otp_expired")
    assert await refused(verify(client, "magiclink", second)) == (403, "otp_expired")
    await db.execute("UPDATE one_time_tokens SET expires_at = now()")
    assert await refused(verify(client, "recovery", second)) == (403, "otp_expired")
    assert await service.links() == []


async def test_nobody_learns_who_has_an_account(api: Api) -> None:
    client = api()
    for _ in range(2):
        assert await recover(client, "nobody@example.com") == {}
    assert await recover(client, "a\0@b.c") == {}
    assert await service.links() == []


async def test_recovery_is_limited(api: Api) -> None:
    client = api()
    for _ in range(10):
        await recover(client)
    again = client.post("/auth/v1/recover", json={"email": "ann@example.com"})
    assert await refused(again) == (429, "over_request_rate_limit")


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("http://localhost:3000/api/auth/callback/reset-password?x=1", None),
        ("https://app.example.com/reset", None),
        ("https://app.example.com.evil.com/", "http://localhost:3000"),
        ("https://evil.com/?http://localhost:3000", "http://localhost:3000"),
        ("https://app.example.com@evil.com/", "http://localhost:3000"),
        ("javascript:alert(1)", "http://localhost:3000"),
        ("http://[::1", "http://localhost:3000"),
    ],
)
async def test_links_lead_to_our_own_pages_only(api: Api, asked: str, goes: str | None) -> None:
    await sign_up(api())
    with environment_of(BACKEND_CORS_ALLOW_ORIGINS="https://app.example.com"):
        response = await api().post(
            "/auth/v1/recover", params={"redirect_to": asked}, json={"email": "ann@example.com"}
        )
    assert response.status_code == 200
    (link,) = await service.links()
    assert link.link.startswith(f"{goes or asked}{'&' if '?' in asked and goes is None else '?'}token_hash=")
    assert link.link.endswith("&type=recovery")


async def test_a_new_address_counts_once_it_is_proven(api: Api, db: Database) -> None:
    client = api()
    session = await sign_up(client)
    headers = bearer(session)
    shown = await answer(client.put("/auth/v1/user", json={"email": "new@example.com"}, headers=headers))
    assert (shown["email"], shown["new_email"]) == ("ann@example.com", "new@example.com")
    token = await token_of()
    # The frontend says it to both; the second must not spoil the link of the first.
    await answer(client.post("/api/auth/user/email", json="new@example.com", headers=headers))
    assert await token_of() == token
    assert await refused(by_password(client, "new@example.com")) == (400, "invalid_credentials")
    proven = await answer(verify(client, "email_change", token))
    assert (proven["user"]["email"], "new_email" in proven["user"]) == ("new@example.com", False)
    await answer(by_password(client, "new@example.com"))
    assert await db.fetchval("SELECT pending_email FROM users") is None


async def test_an_address_that_was_taken_meanwhile(api: Api) -> None:
    client = api()
    session = await sign_up(client)
    await answer(client.post("/api/auth/user/email", json="new@example.com", headers=bearer(session)))
    token = await token_of()
    await sign_up(client, "new@example.com")
    response = await verify(client, "email_change", token)
    assert (response.status_code, response.json()["code"]) == (409, "email_taken")
    await answer(client.post("/api/auth/user/email", json="ann@example.com", headers=bearer(session)))
    assert await refused(verify(client, "email_change", token)) == (403, "otp_expired")


async def test_links_to_the_address_before_are_worth_nothing(api: Api) -> None:
    client = api()
    session = await sign_up(client)
    await answer(client.put("/auth/v1/user", json={"email": "new@example.com"}, headers=bearer(session)))
    change = await token_of()
    await recover(client)
    recovery = next(one.link for one in await service.links() if one.kind == OneTimeKind.RECOVERY)
    await answer(verify(client, "email_change", change))
    token = parse_qs(urlsplit(recovery).query)["token_hash"][0]
    assert await refused(verify(client, "recovery", token)) == (403, "otp_expired")


async def test_with_another_issuer_addresses_are_proven_without_a_session(api: Api) -> None:
    with environment_of(JWT_ISSUER="https://issuer.example.com"):
        ann = api("ann", iss="https://issuer.example.com")
        await answer(ann.post("/api/auth/user/email", json="new@example.com"))
        proven = await answer(verify(api(), "email_change", await token_of()))
    assert proven["email"] == "new@example.com"
    assert "access_token" not in proven


async def test_keys_are_replaced_while_links_wait(api: Api, db: Database) -> None:
    old, new = "o" * 40, "n" * 40
    with environment_of(AGENTPLAT_SECRET_KEYS=old):
        await sign_up(api())
        await recover(api())
        token = await token_of()
    with environment_of(AGENTPLAT_SECRET_KEYS=new), pytest.raises(DecryptionFailed):
        await one_time.waiting()
    with environment_of(AGENTPLAT_SECRET_KEYS=f"{new},{old}"):
        assert await service.seal_anew() == 1
        assert await service.seal_anew() == 0
    with environment_of(AGENTPLAT_SECRET_KEYS=new):
        assert await token_of() == token
        await answer(verify(api(), "recovery", token))


async def test_sessions_outlive_the_key_that_made_them(api: Api) -> None:
    old, new = "o" * 40, "n" * 40
    with environment_of(AGENTPLAT_SECRET_KEYS=old):
        session = await sign_up(api())
    with environment_of(AGENTPLAT_SECRET_KEYS=f"{new},{old}"):
        session = await answer(refresh(api(), session["refresh_token"]))
    with environment_of(AGENTPLAT_SECRET_KEYS=new):
        await answer(refresh(api(), session["refresh_token"]))
