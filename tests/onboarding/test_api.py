"""How far a user has come, over the API and on the real ledger."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from agentplat.accounts.models import User
from agentplat.credits import service as credits
from agentplat.events import service as events
from agentplat.events.models import Notification
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.onboarding import queries, service
from tests.support.api import Api, created, echo_graph
from tests.support.ledger import unsound_accounts
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")

ONBOARDING = "/api/onboarding"
FRESH = {
    "userId": "ann",
    "completedSteps": [],
    "walletShown": False,
    "notified": [],
    "rewardedFor": [],
    "usageReason": None,
    "integrations": [],
    "otherIntegrations": None,
    "selectedStoreListingVersionId": None,
    "agentInput": None,
    "onboardingAgentExecutionId": None,
    "agentRuns": 0,
    "lastRunAt": None,
    "consecutiveRunDays": 0,
}


async def ok(call: Any) -> Any:
    response = await call
    assert response.status_code == 200, response.text
    return response.json()


async def ran(db: Database, at: datetime, graph_id: str, times: int = 1, parent_id: str | None = None) -> None:
    await db.execute(
        """
        INSERT INTO runs
            (id, user_id, graph_id, graph_version, root_id, parent_id, status, request, created_at, deadline)
        SELECT gen_random_uuid(), 'ann', $2, 1, '', $4, 'COMPLETED', '', $1, $1 FROM generate_series(1, $3)
        """,
        at,
        graph_id,
        times,
        parent_id,
    )


async def test_everybody_begins_at_the_beginning_and_nothing_is_written(api: Api, db: Database) -> None:
    assert await ok(api("ann").get(ONBOARDING)) == FRESH
    assert await db.fetchval("SELECT count(*) FROM onboarding") == 0


async def test_what_is_told_is_kept(api: Api) -> None:
    ann = api("ann")
    told = {
        "walletShown": True,
        "notified": ["WELCOME", "CONGRATS", "WELCOME"],
        "usageReason": "data_research",
        "integrations": ["github"],
        "otherIntegrations": "fax",
        "selectedStoreListingVersionId": "v",
        "agentInput": {"topic": "a\0b"},
        "onboardingAgentExecutionId": "e",
    }
    expected = FRESH | told | {"notified": ["WELCOME", "CONGRATS"]}
    assert await ok(ann.patch(ONBOARDING, json=told)) == expected
    later = {"walletShown": False, "notified": ["CONGRATS", "USAGE_REASON"], "usageReason": None}
    expected |= {"notified": ["WELCOME", "CONGRATS", "USAGE_REASON"]}
    assert await ok(ann.patch(ONBOARDING, json=later)) == expected
    assert await ok(ann.get(ONBOARDING)) == expected
    assert await ok(api("bob").get(ONBOARDING)) == FRESH | {"userId": "bob"}


async def test_changes_at_once_lose_nothing(api: Api) -> None:
    ann = api("ann")
    steps = ["WELCOME", "USAGE_REASON", "INTEGRATIONS", "AGENT_CHOICE", "AGENT_INPUT", "CONGRATS"]
    reported = [ann.post(f"{ONBOARDING}/step?step={step}") for step in steps]
    noted = [ann.patch(ONBOARDING, json={"notified": [step]}) for step in steps]
    await asyncio.gather(*(ok(call) for call in [*reported, *noted]))
    state = await ok(ann.get(ONBOARDING))
    assert sorted(state["completedSteps"]) == sorted(state["notified"]) == sorted(steps)


async def test_a_step_is_rewarded_once_however_often_it_is_reported(api: Api, db: Database, enabled: None) -> None:
    ann = api("ann")
    await asyncio.gather(*(ok(ann.post(f"{ONBOARDING}/step?step=VISIT_COPILOT")) for _ in range(8)))
    state = await ok(ann.post(f"{ONBOARDING}/step?step=BUILDER_OPEN"))
    assert (state["completedSteps"], state["rewardedFor"]) == (["VISIT_COPILOT", "BUILDER_OPEN"], ["VISIT_COPILOT"])
    assert await credits.balance("ann") == 500
    emptied = await ok(ann.post(f"{ONBOARDING}/reset"))
    assert emptied == FRESH | {"rewardedFor": ["VISIT_COPILOT"]}
    again = await ok(ann.post(f"{ONBOARDING}/step?step=VISIT_COPILOT"))
    assert (again["completedSteps"], again["rewardedFor"]) == (["VISIT_COPILOT"], ["VISIT_COPILOT"])
    assert await credits.balance("ann") == 500
    keys = await db.fetch("SELECT transaction_key FROM credit_transactions")
    assert [row["transaction_key"] for row in keys] == ["REWARD-ann-VISIT_COPILOT"]
    assert await unsound_accounts(db) == []


async def test_steps_count_as_rewarded_while_credits_are_switched_off(api: Api) -> None:
    ann = api("ann")
    for step in ("WELCOME", "VISIT_COPILOT", "VISIT_COPILOT"):
        state = await ok(ann.post(f"{ONBOARDING}/step?step={step}"))
    assert (state["completedSteps"], state["rewardedFor"]) == (["WELCOME", "VISIT_COPILOT"], ["VISIT_COPILOT"])
    assert await ok(ann.post(f"{ONBOARDING}/reset")) == FRESH | {"rewardedFor": ["VISIT_COPILOT"]}
    with environment_of(ENABLE_CREDIT="true"):
        await ok(ann.post(f"{ONBOARDING}/step?step=VISIT_COPILOT"))
        assert await credits.balance("ann") == 0
        await ok(ann.post(f"{ONBOARDING}/step?step=MARKETPLACE_VISIT"))
        assert await credits.balance("ann") == 100


@pytest.mark.parametrize("step", ["RUN_AGENTS_100", "GET_RESULTS", "nonsense", ""])
async def test_only_steps_of_the_client_can_be_reported(api: Api, step: str) -> None:
    refused = await api("ann").post(f"{ONBOARDING}/step", params={"step": step})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "step"])


async def test_runs_are_counted_once_whoever_looks_at_once(api: Api, db: Database, enabled: None) -> None:
    ann = api("ann")
    graph, other = (await created(ann))["id"], (await created(ann))["id"]
    at = now() - timedelta(hours=1)
    await ran(db, at, graph, times=9)
    await ran(db, at, graph, times=5, parent_id="a run")
    looks = await asyncio.gather(*(ok(ann.get(ONBOARDING)) for _ in range(8)))
    assert {look["agentRuns"] for look in looks} == {9}
    state = await ok(ann.get(ONBOARDING))
    assert (state["completedSteps"], state["consecutiveRunDays"]) == (["RE_RUN_AGENT"], 1)
    assert datetime.fromisoformat(state["lastRunAt"]) == at
    await ran(db, at + timedelta(minutes=1), other)
    state = await ok(ann.get(ONBOARDING))
    assert (state["agentRuns"], state["completedSteps"]) == (10, ["RE_RUN_AGENT", "RUN_AGENTS"])
    assert await credits.balance("ann") == 400


async def test_the_users_sockets_are_told_of_steps_and_of_runs_without_one(api: Api, db: Database) -> None:
    ann = api("ann")
    graph = (await created(ann))["id"]
    at = now() - timedelta(hours=1)
    following = events.follow()
    try:
        assert await anext(following) == []
        for minute in range(3):
            await ran(db, at + timedelta(minutes=minute), graph)
            await ok(ann.get(ONBOARDING))
        told: list[Any] = []
        while len(told) < 3:
            told += [one for one in await asyncio.wait_for(anext(following), 10) if isinstance(one, Notification)]
    finally:
        await following.aclose()
    assert {one.user_id for one in told} == {"ann"}
    assert [json.loads(one.payload) for one in told] == [
        {"type": "onboarding", "event": "increment_runs", "step": None},
        {"type": "onboarding", "event": "step_completed", "step": "RE_RUN_AGENT"},
        {"type": "onboarding", "event": "increment_runs", "step": None},
    ]


async def test_what_the_platform_sees_for_itself_is_rewarded_at_once_and_once(
    api: Api, db: Database, enabled: None
) -> None:
    ann = api("ann")
    graph = (await created(ann))["id"]
    await credits.grant("ann", 1000, "gift", "gift")

    async def schedule() -> None:
        nightly = {"name": "Nightly", "cron": "30 2 * * *", "inputs": {}}
        made = await ok(ann.post(f"/api/graphs/{graph}/schedules", json=nightly))
        await ok(ann.delete(f"/api/schedules/{made['id']}"))

    async def save(source: str) -> None:
        await ok(ann.post("/api/graphs", json={"graph": echo_graph(), "source": source}))

    async def start(source: str) -> None:
        await ok(ann.post(f"/api/graphs/{graph}/execute/1", json={"source": source}))

    seen: list[str] = []
    balance = 1000
    for act, step, reward in (
        (schedule, "SCHEDULE_AGENT", 100),
        (lambda: save("upload"), None, 0),
        (lambda: save("builder"), "BUILDER_SAVE_AGENT", 100),
        (lambda: start("onboarding"), None, 0),
        (lambda: start("library"), "MARKETPLACE_RUN_AGENT", 100),
        (lambda: start("builder"), "BUILDER_RUN_AGENT", 0),
    ):
        await asyncio.gather(*(act() for _ in range(3)))
        seen += [step] if step else []
        balance += reward
        assert await credits.balance("ann") == balance, step
        row = await db.fetchrow("SELECT completed_steps, rewarded_for FROM onboarding")
        assert (row["completed_steps"] if row else []) == seen
    assert row["rewarded_for"] == [step for step in seen if step != "BUILDER_RUN_AGENT"]
    assert await ok(api("bob").get(ONBOARDING)) == FRESH | {"userId": "bob"}
    assert await unsound_accounts(db) == []


async def test_a_run_is_counted_as_soon_as_it_is_accepted_and_once(api: Api, db: Database, enabled: None) -> None:
    ann = api("ann")
    graph = (await created(ann))["id"]
    await credits.grant("ann", 1000, "gift", "gift")
    for number in range(1, 4):
        run = await ok(ann.post(f"/api/graphs/{graph}/execute/1", json={}))
        state = await ok(ann.get(ONBOARDING))
        assert (state["agentRuns"], state["consecutiveRunDays"]) == (number, 1)
        assert state["completedSteps"] == ([] if number == 1 else ["RE_RUN_AGENT"])
        # Some of them are old enough to be kept, and the others are not.
        await db.execute("UPDATE runs SET created_at = created_at - interval '1 minute' WHERE id = $1", run["id"])
        assert await ok(ann.get(ONBOARDING)) | {"lastRunAt": None} == state | {"lastRunAt": None}
    assert await db.fetchval("SELECT agent_runs FROM onboarding") == 3
    assert await credits.balance("ann") == 1100
    assert (await ok(ann.post(f"{ONBOARDING}/reset")))["agentRuns"] == 0
    assert (await ok(ann.get(ONBOARDING)))["agentRuns"] == 0


async def test_a_look_that_began_before_a_reset_undoes_nothing_of_it(api: Api, db: Database) -> None:
    ann = api("ann")
    await ran(db, now() - timedelta(hours=1), (await created(ann))["id"], times=12)
    before = await queries.get("ann")
    counted = (await service.get(User(id="ann")), now())
    stale = await queries.get("ann")
    await ok(ann.post(f"{ONBOARDING}/reset"))
    for state in (before, stale):
        await queries.keep(state, *counted)
    assert await ok(ann.get(ONBOARDING)) == FRESH | {"rewardedFor": counted[0].rewarded_for}


async def test_runs_from_before_a_first_reset_are_not_counted(api: Api, db: Database) -> None:
    ann = api("ann")
    await ran(db, now() - timedelta(hours=1), (await created(ann))["id"])
    assert await ok(ann.post(f"{ONBOARDING}/reset")) == FRESH
    assert await ok(ann.get(ONBOARDING)) == FRESH


async def test_results_of_the_first_agent_complete_a_step(api: Api, db: Database) -> None:
    ann, bob = api("ann"), api("bob")
    graph = (await created(ann))["id"]
    run = (await ok(ann.post(f"/api/graphs/{graph}/execute/1", json={"source": "onboarding"})))["id"]
    for client in (ann, bob):
        await ok(client.patch(ONBOARDING, json={"onboardingAgentExecutionId": run}))
        assert (await ok(client.get(ONBOARDING)))["completedSteps"] == []
    await db.execute("UPDATE runs SET status = 'COMPLETED', place = NULL")
    assert (await ok(ann.get(ONBOARDING)))["completedSteps"] == ["GET_RESULTS"]
    assert (await ok(bob.get(ONBOARDING)))["completedSteps"] == []


async def test_days_are_those_of_the_users_zone(api: Api, db: Database) -> None:
    ann = api("ann")
    await ok(ann.post("/api/auth/user/timezone", json={"timezone": "Asia/Kathmandu"}))  # UTC+5:45
    midnight = datetime.fromisoformat("2026-03-01T00:00:00+05:45")
    for at in (midnight - timedelta(minutes=1), midnight, midnight + timedelta(days=1, minutes=1)):
        await ran(db, at, (await created(ann))["id"])
    state = await ok(ann.get(ONBOARDING))
    assert (state["consecutiveRunDays"], state["completedSteps"]) == (3, ["RUN_3_DAYS"])


async def test_a_run_that_may_still_be_on_its_way_is_counted_later(api: Api, db: Database) -> None:
    ann = api("ann")
    await ran(db, now() + timedelta(minutes=1), (await created(ann))["id"])
    assert (await ok(ann.get(ONBOARDING)))["agentRuns"] == 0


async def test_without_a_marketplace_nobody_is_led_through(api: Api) -> None:
    assert await ok(api("ann").get(f"{ONBOARDING}/agents")) == []
    assert await ok(api("ann").get(f"{ONBOARDING}/enabled")) is False
