"""A user's own account, over the API."""

import asyncio
from typing import Any

import pytest

from agentplat.accounts import service
from agentplat.accounts.models import NotificationType, User
from agentplat.infra.db import Database
from tests.support.api import Api
from tests.support.statements import said

USER = "/api/auth/user"
REFUNDS = {NotificationType.REFUND_REQUEST, NotificationType.REFUND_PROCESSED}
WITHOUT_SECRETS = {"metadata": {}, "integrations": "", "stripe_customer_id": None, "top_up_config": None}


async def ok(call: Any) -> Any:
    response = await call
    assert response.status_code == 200, response.text
    return response.json()


async def test_the_first_call_makes_the_account(api: Api) -> None:
    ann = api("ann", user_metadata={"name": "Ann"})
    first = await ok(ann.post(USER))
    assert (first["id"], first["email"], first["name"], first["timezone"]) == (
        "ann",
        "ann@example.com",
        "Ann",
        "not-set",
    )
    assert first | WITHOUT_SECRETS == first
    assert first["notify_on_agent_run"] is True
    assert first["created_at"].endswith("Z")
    assert await ok(ann.post(USER)) == first


async def test_first_calls_at_once_make_one_account(api: Api, db: Database) -> None:
    clients = [api("ann") for _ in range(8)]

    async def first_call(client: Any) -> Any:
        # Each as if it reached a process of its own.
        service.forget_users()
        return await client.post(USER)

    answers = await asyncio.gather(*map(first_call, clients))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.text for answer in answers}) == 1
    assert await db.fetchval("SELECT count(*) FROM users") == 1


@pytest.mark.parametrize("email", [None, "a\0@b.c", 7, "a" * 249 + "@b.c" + "de"])
async def test_an_account_needs_an_address(api: Api, email: Any) -> None:
    response = await api("ann", email=email).post(USER)
    assert (response.status_code, response.json()["detail"]) == (401, "Email not found in token")


async def test_an_address_belongs_to_one_account(api: Api, db: Database) -> None:
    await ok(api("ann").post(USER))
    bob = api("bob", email="ANN@example.com")
    refused = await bob.post(USER)
    assert (refused.status_code, refused.json()["code"]) == (409, "email_taken")
    # He is somebody all the same, only without an address.
    assert await ok(bob.get("/api/graphs")) == []
    await db.execute("DELETE FROM users WHERE id = 'ann'")
    assert (await ok(bob.post(USER)))["email"] == "ANN@example.com"


async def test_another_address_waits_for_its_proof(api: Api, db: Database) -> None:
    ann = api("ann")
    await ok(ann.post(USER))
    assert await ok(ann.post(f"{USER}/email", json=" new@example.com ")) == {"email": "new@example.com"}
    assert (await ok(ann.post(USER)))["email"] == "ann@example.com"
    assert await db.fetchval("SELECT pending_email FROM users") == "new@example.com"
    assert await ok(ann.post(f"{USER}/email", json="Ann@example.com")) == {"email": "Ann@example.com"}
    assert await db.fetchval("SELECT pending_email FROM users") is None


async def test_an_address_may_come_in_an_object(api: Api, db: Database) -> None:
    ann = api("ann")
    assert await ok(ann.post(f"{USER}/email", json={"email": "new@example.com"})) == {"email": "new@example.com"}
    assert await db.fetchval("SELECT pending_email FROM users") == "new@example.com"
    refused = await ann.post(f"{USER}/email", json={"email": "nobody"})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "email"])


@pytest.mark.parametrize("path", ["/email", "/preferences"])
async def test_nobody_takes_an_address_of_somebody_else(api: Api, db: Database, path: str) -> None:
    await ok(api("bob").post(USER))
    ann = api("ann")
    wanted = "BOB@example.com"
    body: Any = wanted if path == "/email" else {"email": wanted, "preferences": {}, "daily_limit": 7}
    response = await ann.post(USER + path, json=body)
    assert (response.status_code, response.json()["code"]) == (409, "email_taken")
    assert await db.fetchval("SELECT count(*) FROM users WHERE pending_email IS NOT NULL") == 0
    assert (await ok(ann.get(f"{USER}/preferences")))["daily_limit"] == 3


@pytest.mark.parametrize(
    "address",
    ["", "ann", "ann@", "@b.c", "a b@c.d", "a@b", "a@b.", "a@b@c.d", "a\0@b.c", "a@b.c" + "d" * 250, "<a@b.c>"],
)
async def test_what_is_no_address_is_refused(api: Api, address: str) -> None:
    response = await api("ann").post(f"{USER}/email", json=address)
    assert response.status_code == 422
    assert response.json()["detail"] == [
        {"type": "value_error", "loc": ["body"], "msg": "This is no e-mail address"},
    ]


async def test_time_zones(api: Api) -> None:
    ann = api("ann")
    assert await ok(ann.get(f"{USER}/timezone")) == {"timezone": "not-set"}
    assert await ok(ann.post(f"{USER}/timezone", json={"timezone": "Europe/Paris"})) == {"timezone": "Europe/Paris"}
    assert await ok(ann.get(f"{USER}/timezone")) == {"timezone": "Europe/Paris"}
    assert await ok(api("bob").get(f"{USER}/timezone")) == {"timezone": "not-set"}
    for unknown in ("europe/paris", "not-set", "", "Factory", "localtime", "../etc/passwd"):
        response = await ann.post(f"{USER}/timezone", json={"timezone": unknown})
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["body", "timezone"]


async def test_preferences_are_what_was_said(api: Api) -> None:
    ann = api("ann")
    before = await ok(ann.get(f"{USER}/preferences"))
    assert before["preferences"] == dict.fromkeys(set(NotificationType) - REFUNDS, True)
    assert (before["user_id"], before["email"], before["daily_limit"]) == ("ann", "ann@example.com", 3)
    wanted = {"email": "ann@example.com", "preferences": {"AGENT_RUN": False, "LOW_BALANCE": False}, "daily_limit": 0}
    changed = await ok(ann.post(f"{USER}/preferences", json=wanted))
    assert {kind for kind, wants in changed["preferences"].items() if not wants} == {"AGENT_RUN", "LOW_BALANCE"}
    assert changed["daily_limit"] == 0
    wanted |= {"preferences": {"AGENT_RUN": True}, "daily_limit": 5}
    await ok(ann.post(f"{USER}/preferences", json=wanted))
    after = await ok(ann.get(f"{USER}/preferences"))
    assert {kind for kind, wants in after["preferences"].items() if not wants} == {"LOW_BALANCE"}
    account = await ok(ann.post(USER))
    assert (account["notify_on_low_balance"], account["notify_on_agent_run"], account["max_emails_per_day"]) == (
        False,
        True,
        5,
    )


async def test_what_nobody_can_do_without_is_no_preference(api: Api) -> None:
    wanted = {"email": "ann@example.com", "preferences": dict.fromkeys(NotificationType, False), "daily_limit": 1}
    changed = await ok(api("ann").post(f"{USER}/preferences", json=wanted))
    assert changed["preferences"] == dict.fromkeys(set(NotificationType) - REFUNDS, False)


@pytest.mark.parametrize(
    "change",
    [
        {"preferences": {"AGENT_RUN": 1}},
        {"preferences": {"AGENT_RUNS": True}},
        {"daily_limit": -1},
        {"daily_limit": 2**40},
        {"email": "nobody"},
    ],
)
async def test_unusable_preferences_are_refused(api: Api, change: dict[str, Any]) -> None:
    body = {"email": "ann@example.com", "preferences": {}, "daily_limit": 1} | change
    response = await api("ann").post(f"{USER}/preferences", json=body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][:2] == ["body", next(iter(change))]


async def test_an_account_costs_one_statement(api: Api) -> None:
    ann = api("ann")
    await ok(ann.post(USER))
    for call, statements in (
        (ann.post(USER), 1),
        (ann.get(f"{USER}/preferences"), 1),
        (ann.get(f"{USER}/timezone"), 1),
        (ann.post(f"{USER}/timezone", json={"timezone": "UTC"}), 1),
        # The change, and the token that proves the address.
        (ann.post(f"{USER}/email", json="x@example.com"), 2),
    ):
        with said() as counted:
            await ok(call)
        assert len(counted) == statements, counted


async def test_a_known_address_does_not_keep_a_user_out(db: Database) -> None:
    for user_id in ("ann", "bob"):
        service.forget_users()
        await service.ensure_user(User(id=user_id, email="same@example.com"))
    rows = await db.fetch("SELECT id, email FROM users ORDER BY id")
    assert [tuple(row) for row in rows] == [("ann", "same@example.com"), ("bob", None)]
