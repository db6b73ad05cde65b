"""The history of one's own balance, and everybody's for administrators."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.credits import service
from agentplat.credits.models import Charge, Usage
from agentplat.infra.db import Database
from tests.credits.test_payments import CREDITS, ok
from tests.support.api import Api
from tests.support.ledger import unsound_accounts
from tests.support.statements import said

pytestmark = pytest.mark.usefixtures("enabled")

TRANSACTIONS = f"{CREDITS}/transactions"
GRANT = f"{CREDITS}/admin/add_credits"
ALL = f"{CREDITS}/admin/users_history"
NEVER = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]


@pytest.fixture
async def users(db: Database) -> None:
    accounts.forget_users()
    for name in ("ann", "bob", "root"):
        await accounts.ensure_user(User(id=name, email=f"{name}@example.com", name=f"{name.title()} Miller"))


async def ran(run: str, key: str, amount: int = 10, user: str = "ann") -> None:
    usage = Usage(graph_exec_id=run, graph_id="0123456789", reason="Ran")
    await service.spend(user, Charge(key=key, amount=amount, usage=usage))


async def pages(client: httpx.AsyncClient, size: int, **query: Any) -> list[dict[str, Any]]:
    """All entries, read in pages."""
    found: list[dict[str, Any]] = []
    while True:
        params = {"transaction_count_limit": size, **query}
        page = await ok(client.get(TRANSACTIONS, params=params))
        found += page["transactions"]
        if page["next_transaction_time"] is None:
            return found
        query["transaction_time"] = page["next_transaction_time"]


async def test_a_run_is_one_entry_wherever_its_rows_stand(users: None, api: Api) -> None:
    await service.grant("ann", 1000, "gift", "welcome")
    for number in range(4):
        await ran("one", f"one-{number}")
        await ran("two", f"two-{number}", 1)
    await service.spend("ann", Charge(key="single", amount=5))
    ann = api("ann")
    single, two, one, gift = (await ok(ann.get(TRANSACTIONS)))["transactions"]
    assert (one["amount"], one["usage_node_count"], one["transaction_key"]) == (-40, 4, "")
    assert (two["amount"], two["usage_node_count"], two["running_balance"]) == (-4, 4, 956)
    assert (one["usage_execution_id"], one["usage_graph_id"]) == ("one", "0123456789")
    assert one["description"] == "Graph #01234567 Execution"
    assert one["usage_start_time"] < two["usage_start_time"] < one["transaction_time"] < two["transaction_time"]
    assert (gift["transaction_key"], gift["amount"], gift["reason"]) == ("gift", 1000, "welcome")
    assert (gift["description"], gift["usage_start_time"]) == ("GRANT Transaction", NEVER[1])
    assert (single["amount"], single["running_balance"], single["usage_execution_id"]) == (-5, 951, None)
    for size in (1, 2, 3):
        assert await pages(ann, size) == [single, two, one, gift]
    assert await pages(ann, 1, transaction_type="GRANT") == [gift]
    assert (await ok(api("bob").get(TRANSACTIONS)))["transactions"] == []


async def test_entries_of_one_moment_are_not_torn_apart(users: None, api: Api, db: Database) -> None:
    """Who goes on behind a time must not miss what else happened then."""
    at = datetime.now(UTC)
    for number in range(12):
        await db.execute(
            "INSERT INTO credit_transactions (user_id, transaction_key, amount, type, running_balance, metadata,"
            " created_at, run_id) VALUES ('ann', $1, -1, 'USAGE', $2, '{}', $3, $4)",
            f"k{number}",
            100 - number,
            at + timedelta(seconds=number // 4),
            f"run-{number}",
        )
    for size in (1, 3, 5, 100):
        seen = [entry["usage_execution_id"] for entry in await pages(api("ann"), size)]
        assert seen == [f"run-{number}" for number in reversed(range(12))]


async def test_pages_are_complete_for_who_counts_in_milliseconds(users: None, api: Api) -> None:
    """As JavaScript does, by whose `Date` the rest of a time is lost."""
    for number in range(40):
        await service.grant("ann", 1, f"gift-{number}", "gift")
    for size in (1, 7):
        seen, query = [], {"transaction_count_limit": str(size)}
        while query.get("transaction_time") != "":
            page = await ok(api("ann").get(TRANSACTIONS, params=query))
            seen += [entry["transaction_key"] for entry in page["transactions"]]
            following = page["next_transaction_time"]
            cut = datetime.fromisoformat(following).isoformat(timespec="milliseconds") if following else ""
            query["transaction_time"] = cut
        assert seen == [f"gift-{number}" for number in reversed(range(40))]


async def test_times_have_zones(users: None, api: Api) -> None:
    await service.grant("ann", 5, "gift", "gift")
    ann = api("ann")
    (entry,) = (await ok(ann.get(TRANSACTIONS)))["transactions"]
    at = datetime.fromisoformat(entry["transaction_time"])
    for seconds, found in ((1, 1), (-1, 0)):
        moment = at + timedelta(seconds=seconds)
        for text in (moment.isoformat(), moment.astimezone().isoformat(), moment.replace(tzinfo=None).isoformat()):
            page = await ok(ann.get(TRANSACTIONS, params={"transaction_time": text}))
            assert len(page["transactions"]) == found, text


async def test_odd_questions_are_answered_with_what_is_odd(users: None, api: Api) -> None:
    for member, value in (
        ("transaction_count_limit", "many"),
        ("transaction_type", "GIFT"),
        ("transaction_time", "yesterday"),
        ("transaction_time", "9999-12-31T23:59:59-14:00"),
    ):
        refused = await api("ann").get(TRANSACTIONS, params={member: value})
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"][0]["loc"] == ["query", member]
    for limit in (-1, 0, 1001, 10**30):
        refused = await api("ann").get(TRANSACTIONS, params={"transaction_count_limit": limit})
        assert refused.status_code == 400, refused.text
        assert refused.json()["detail"] == "transaction_count_limit: expected 1 to 1000"


# --- administrators


async def test_an_administrator_gives_and_takes(users: None, api: Api, db: Database) -> None:
    root = api("root", role="admin")
    given = await ok(root.post(GRANT, json={"user_id": "ann", "amount": 500, "comments": "sorry"}))
    assert given["new_balance"] == 500
    taken = await ok(root.post(GRANT, json={"user_id": "ann", "amount": -200, "comments": "a mistake"}))
    assert taken["new_balance"] == 300
    refused = await root.post(GRANT, json={"user_id": "ann", "amount": -301, "comments": "more"})
    assert (refused.status_code, refused.json()["code"]) == (400, "insufficient_balance")
    newest, oldest = (await ok(root.get(ALL)))["history"]
    assert (newest["amount"], newest["current_balance"], newest["running_balance"]) == (-200, 300, 300)
    assert (oldest["user_email"], oldest["admin_email"]) == ("ann@example.com", "root@example.com")
    assert (oldest["reason"], oldest["transaction_key"]) == ("sorry", given["transaction_key"])
    assert oldest["extra_data"] == '{"admin_id":"root","reason":"sorry"}'
    assert await unsound_accounts(db) == []


async def test_a_grant_that_is_sent_again_under_its_key_counts_once(users: None, api: Api, db: Database) -> None:
    root = api("root", role="admin")
    await ok(root.post(GRANT, json={"user_id": "ann", "amount": 100, "comments": "first"}))
    headers = {"Idempotency-Key": "ticket-7"}
    body = {"user_id": "ann", "amount": -80, "comments": "again"}
    answers = await asyncio.gather(*(ok(root.post(GRANT, json=body, headers=headers)) for _ in range(6)))
    assert {answer["new_balance"] for answer in answers} == {20}
    other = await root.post(GRANT, json=body | {"amount": -5}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "transaction_key_reused")
    assert await unsound_accounts(db) == []


@pytest.mark.parametrize("comments", ["a\0b", "\\u0000", "\x7f\x1b", '"\\', ""])
async def test_whatever_an_administrator_says_of_a_grant_is_shown(users: None, api: Api, comments: str) -> None:
    root = api("root", role="admin")
    await ok(root.post(GRANT, json={"user_id": "ann", "amount": 5, "comments": comments}))
    (entry,) = (await ok(root.get(ALL)))["history"]
    assert (entry["reason"], entry["admin_email"]) == (comments, "root@example.com")
    assert json.loads(entry["extra_data"]) == {"admin_id": "root", "reason": comments}
    assert (await ok(api("ann").get(TRANSACTIONS)))["transactions"][0]["reason"] == comments


async def test_odd_grants_are_refused(users: None, api: Api) -> None:
    bodies: list[tuple[dict[str, Any], int]] = [
        ({"user_id": "nobody"}, 404),
        ({"user_id": "nobody", "amount": -5}, 404),
        ({"user_id": "\0"}, 404),
        ({"amount": 0}, 422),
        ({"amount": 2**31}, 422),
        ({"amount": -(10**40)}, 422),
        ({"amount": "5"}, 422),
        ({"comments": "x" * 2001}, 422),
        ({"comments": None}, 422),
    ]
    for body, status in bodies:
        whole = {"user_id": "ann", "amount": 5, "comments": "\0 is fine"} | body
        assert (await api("root", role="admin").post(GRANT, json=whole)).status_code == status, body


async def test_others_neither_give_nor_look(users: None, api: Api) -> None:
    body = {"user_id": "ann", "amount": 500, "comments": "for me"}
    acting = {"X-Act-As-User-Id": "root"}
    for client, headers, status in ((api("ann"), {}, 403), (api("ann"), acting, 403), (api(), {}, 401)):
        assert (await client.post(GRANT, json=body, headers=headers)).status_code == status
        assert (await client.get(ALL, headers=headers)).status_code == status
        # Nor are they told what would be wrong with what they ask for.
        assert (await client.post(GRANT, content=b"{", headers=headers)).status_code == status
        assert (await client.get(ALL, headers=headers, params={"page": "x"})).status_code == status
    assert await service.balance("ann") == 0


async def test_who_acts_as_somebody_else_gives_as_themselves(users: None, api: Api, db: Database) -> None:
    """A browser says at every request whom its administrator acts as, also on the pages for administrators."""
    root = api("root", role="admin")
    root.headers["X-Act-As-User-Id"] = "ann"
    await ok(root.post(GRANT, json={"user_id": "ann", "amount": 500, "comments": "sorry"}))
    (given,) = (await ok(root.get(ALL)))["history"]
    assert (given["user_email"], given["admin_email"]) == ("ann@example.com", "root@example.com")
    assert await db.fetchval("SELECT count(*) FROM impersonations") == 0


async def test_everybodys_history_is_searched_filtered_and_paged(users: None, api: Api) -> None:
    for number in range(5):
        await service.grant("ann" if number % 2 else "bob", 100, f"gift-{number}", "gift")
    await ran("run", "ran")
    root = api("root", role="admin")

    async def keys(**query: Any) -> list[str]:
        return [entry["transaction_key"] for entry in (await ok(root.get(ALL, params=query)))["history"]]

    everything = ["ran", *(f"gift-{number}" for number in reversed(range(5)))]
    assert await keys() == everything
    assert await keys(page=1, page_size=4) + await keys(page=2, page_size=4) == everything
    assert await keys(search="BOB@") == await keys(search="bob mill") == ["gift-4", "gift-2", "gift-0"]
    assert await keys(search="mill") == everything
    assert await keys(search="%") == await keys(page=3, page_size=4) == []
    assert await keys(transaction_filter="USAGE") == ["ran"]
    for odd in ("\N{NO-BREAK SPACE}", "a\nb", "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}", "_", "\\", "'"):
        assert await keys(search=odd) == [], odd
    page = (await ok(root.get(ALL, params={"page_size": 4, "search": "ann"})))["pagination"]
    assert page == {"total_items": 3, "total_pages": 1, "current_page": 1, "page_size": 4}
    assert await keys(page_size=1000) == everything
    for query in ({"transaction_filter": "X"}, {"search": "\0"}, {"page": "x"}):
        assert (await root.get(ALL, params=query)).status_code == 422
    for member, number in (("page", 0), ("page", -1), ("page", 2**31), ("page_size", 0), ("page_size", 1001)):
        refused = await root.get(ALL, params={member: number})
        assert refused.status_code == 400, refused.text
        assert refused.json()["detail"].startswith(f"{member}: ")


async def test_pages_of_what_happened_to_many_at_one_moment_are_disjoint(users: None, api: Api, db: Database) -> None:
    await db.execute("INSERT INTO users (id) SELECT 'user-' || n FROM generate_series(1, 300) n")
    await db.execute(
        "INSERT INTO credit_transactions"
        " (user_id, transaction_key, amount, type, running_balance, metadata, created_at)"
        " SELECT 'user-' || n, 'gift', 5, 'GRANT', 5, '{}', '2026-01-01' FROM generate_series(1, 300) n ORDER BY n % 7"
    )
    root = api("root", role="admin")
    seen: list[str] = []
    for page in range(1, 31):
        found = await ok(root.get(ALL, params={"page": page, "page_size": 10}))
        seen += [entry["user_id"] for entry in found["history"]]
    assert sorted(seen) == sorted(f"user-{number}" for number in range(1, 301))


async def test_how_many_statements_an_answer_takes(users: None, api: Api) -> None:
    for number in range(30):
        await service.grant("ann", 10, f"gift-{number}", "gift")
        await ran(f"run-{number}", f"ran-{number}")
    root = api("root", role="admin")
    await ok(root.get(CREDITS))
    for path, statements in ((CREDITS, 1), (TRANSACTIONS, 1), (f"{CREDITS}/auto-top-up", 1), (ALL, 2)):
        with said() as statements_said:
            await ok(root.get(path))
        assert len(statements_said) == statements, path
    for number in range(30):
        await service.grant_by_admin(("root", "bob")[number % 2], "ann", 1, "", f"by-admin-{number}")
    with said() as statements_said:
        assert len({entry["admin_email"] for entry in (await ok(root.get(ALL)))["history"]}) == 2
    assert len(statements_said) == 3
