"""Sessions: families of refresh tokens, and how they end."""

import asyncio

import pytest

from agentplat.infra.db import Database
from tests.support.api import Api
from tests.support.sign_in import answer, bearer, by_password, refresh, refused, sign_up
from tests.support.statements import said
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")


async def test_a_refresh_token_is_replaced(api: Api) -> None:
    client = api()
    session = await sign_up(client)
    for _ in range(3):
        after = await answer(refresh(client, session["refresh_token"]))
        assert after["refresh_token"] != session["refresh_token"]
        assert after["user"]["id"] == session["user"]["id"]
        session = after
    await answer(client.get("/auth/v1/user", headers=bearer(session)))


async def test_a_reused_token_ends_the_whole_family(api: Api) -> None:
    client = api()
    with environment_of(AGENTPLAT_REFRESH_GRACE="0"):
        first = await sign_up(client)
        other = await answer(by_password(client))
        second = await answer(refresh(client, first["refresh_token"]))
        assert await refused(refresh(client, first["refresh_token"])) == (400, "refresh_token_already_used")
        assert await refused(refresh(client, second["refresh_token"])) == (400, "refresh_token_not_found")
        assert await refused(client.get("/auth/v1/user", headers=bearer(second))) == (403, "session_not_found")
        # Another device has nothing to do with it.
        await answer(refresh(client, other["refresh_token"]))


async def test_of_many_at_once_one_uses_a_token(api: Api, db: Database) -> None:
    client = api()
    with environment_of(AGENTPLAT_REFRESH_GRACE="0"):
        session = await sign_up(client)
        tried = await asyncio.gather(*(refresh(client, session["refresh_token"]) for _ in range(8)))
    assert sorted(one.status_code for one in tried) == [200] + [400] * 7
    assert await db.fetchval("SELECT revoked_at IS NOT NULL FROM sessions")
    (winner,) = (one.json() for one in tried if one.is_success)
    assert await refused(refresh(client, winner["refresh_token"])) == (400, "refresh_token_not_found")


async def test_within_the_grace_all_get_the_same_successor(api: Api, db: Database) -> None:
    client = api()
    session = await sign_up(client)
    tried = await asyncio.gather(*(answer(refresh(client, session["refresh_token"])) for _ in range(8)))
    (successor,) = {one["refresh_token"] for one in tried}
    after = await answer(refresh(client, successor))
    # Two steps back is no client asking twice.
    assert await refused(refresh(client, session["refresh_token"])) == (400, "refresh_token_already_used")
    assert await refused(refresh(client, after["refresh_token"])) == (400, "refresh_token_not_found")


async def test_the_grace_ends(api: Api, db: Database) -> None:
    client = api()
    session = await sign_up(client)
    await answer(refresh(client, session["refresh_token"]))
    await db.execute("UPDATE sessions SET rotated_at = rotated_at - interval '11 seconds'")
    assert await refused(refresh(client, session["refresh_token"])) == (400, "refresh_token_already_used")


async def test_made_up_refresh_tokens_do_nothing(api: Api, db: Database) -> None:
    client = api()
    session = await sign_up(client)
    token = session["refresh_token"]
    other = await sign_up(client, "bob@example.com")
    mixed = token[:20] + other["refresh_token"][20:]
    for made_up in (
        "",
        "é",
        "%",
        token[:-4],
        token[:-4] + "AAAA",
        "A" + token[1:],
        token + "AAAA",
        mixed,
        "A" * 10_000,
    ):
        assert await refused(refresh(client, made_up)) == (400, "refresh_token_not_found")
    await answer(refresh(client, token))


async def test_sessions_end_by_themselves(api: Api, db: Database) -> None:
    client = api()
    session = await sign_up(client)
    await db.execute("UPDATE sessions SET expires_at = now()")
    assert await refused(refresh(client, session["refresh_token"])) == (400, "refresh_token_not_found")
    assert await refused(client.get("/auth/v1/user", headers=bearer(session))) == (403, "session_not_found")
    await answer(by_password(client))
    assert await db.fetchval("SELECT count(*) FROM sessions") == 1


@pytest.mark.parametrize(
    ("scope", "alive"), [("local", [False, True]), ("others", [True, False]), ("global", [False, False])]
)
async def test_logging_out(api: Api, scope: str, alive: list[bool]) -> None:
    client = api()
    here, there = await sign_up(client), await answer(by_password(client))
    stranger = await sign_up(client, "bob@example.com")
    response = await client.post(f"/auth/v1/logout?scope={scope}", headers=bearer(here))
    assert (response.status_code, response.content) == (204, b"")
    seen = [await client.get("/auth/v1/user", headers=bearer(one)) for one in (here, there, stranger)]
    assert [one.is_success for one in seen] == [*alive, True]


async def test_what_signing_in_costs(api: Api) -> None:
    client = api()
    session = await sign_up(client)
    await answer(client.get("/auth/v1/user", headers=bearer(session)))
    for call, statements in (
        (by_password(client), 2),
        (refresh(client, session["refresh_token"]), 1),
        # Asked before every page and every call of the frontend.
        (client.get("/auth/v1/user", headers=bearer(session)), 1),
    ):
        with said() as counted:
            await answer(call)
        assert len(counted) == statements, counted
