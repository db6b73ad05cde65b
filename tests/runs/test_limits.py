"""What a request may ask of a run, and how many may wait."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from agentplat.infra import settings as settings_module
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries
from tests.support.api import Api, echo_graph

pytestmark = pytest.mark.usefixtures("redis")


@pytest.fixture
def limited(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three runs of a user may wait, and none may take more than an hour."""
    with monkeypatch.context() as patch:
        patch.setenv("AGENTPLAT_MAX_QUEUED_PER_USER", "3")
        patch.setenv("AGENTPLAT_RUN_DEADLINE", "3600")
        settings_module.get_settings.cache_clear()
        yield
    settings_module.get_settings.cache_clear()


async def create(api: Api, user: str = "ann") -> tuple[str, str]:
    """Where the graph is executed, and where its settings are."""
    answer = await api(user).post("/api/graphs", json={"graph": echo_graph()})
    assert answer.status_code == 200, answer.text
    graph = answer.json()
    return f"/api/graphs/{graph['id']}/execute/{graph['version']}", f"/api/graphs/{graph['id']}/settings"


async def allowed(api: Api, path: str, body: dict[str, Any]) -> timedelta:
    """The time that a run gets."""
    answer = await api("ann").post(path, json=body)
    assert answer.status_code == 200, answer.text
    row = await queries.find(answer.json()["id"])
    assert row is not None
    return row.deadline - row.created_at


async def test_the_deadline_is_the_requests_else_the_graphs_else_the_platforms(limited: None, api: Api) -> None:
    path, settings = await create(api)
    assert await allowed(api, path, {}) == timedelta(hours=1)
    assert await allowed(api, path, {"deadline_seconds": 5}) == timedelta(seconds=5)
    changed = await api("ann").patch(settings, json={"run_deadline_seconds": 60})
    assert changed.json()["run_deadline_seconds"] == 60
    assert await allowed(api, path, {"deadline_seconds": None}) == timedelta(minutes=1)


async def test_a_request_may_ask_for_more_than_its_graph_usually_gets(limited: None, api: Api) -> None:
    path, settings = await create(api)
    await api("ann").patch(settings, json={"run_deadline_seconds": 60})
    assert await allowed(api, path, {"deadline_seconds": 3600}) == timedelta(hours=1)


async def test_a_graph_never_gets_more_than_the_platform_allows(limited: None, api: Api) -> None:
    path, settings = await create(api)
    assert (await api("ann").patch(settings, json={"run_deadline_seconds": 10**30})).status_code in (200, 422)
    assert await allowed(api, path, {}) == timedelta(hours=1)
    await api("ann").patch(settings, json={"run_deadline_seconds": None})
    assert "run_deadline_seconds" not in (await api("ann").patch(settings, json={})).json()


@pytest.mark.parametrize("value", [0, -1, 3601, 10**30, 1.5, "60", True, [60]])
async def test_nonsense_is_refused_by_name(limited: None, api: Api, db: Database, value: Any) -> None:
    path, settings = await create(api)
    answer = await api("ann").post(path, json={"deadline_seconds": value})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "deadline_seconds"]
    assert await db.fetchval("SELECT count(*) FROM runs") == 0
    if value not in (3601, 10**30):
        assert (await api("ann").patch(settings, json={"run_deadline_seconds": value})).status_code == 422


async def test_above_the_limit_it_says_what_the_limit_is(limited: None, api: Api) -> None:
    path, _ = await create(api)
    answer = await api("ann").post(path, json={"deadline_seconds": 3601})
    assert (answer.json()["code"], answer.json()["detail"][0]["input"]) == ("deadline_invalid", 3601)
    assert "3600 seconds" in answer.json()["detail"][0]["msg"]


async def test_too_many_that_wait_are_refused_and_told_when_to_try_again(
    limited: None, api: Api, db: Database, redis: Redis
) -> None:
    path, _ = await create(api)
    other, _ = await create(api)
    for where in (path, other, path):
        assert (await api("ann").post(where, json={})).status_code == 200
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = await api("ann").post(path, json={}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_waiting")
        assert int(answer.headers["retry-after"]) > 0
    bobs, _ = await create(api, "bob")
    assert (await api("bob").post(bobs, json={})).status_code == 200
    # One that has begun doesn't count; and the key that was refused stands for nothing yet.
    await db.execute(
        "UPDATE runs SET status = 'RUNNING' WHERE id = (SELECT id FROM runs WHERE user_id = 'ann' LIMIT 1)"
    )
    answer = await api("ann").post(path, json={}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 200
    assert "idempotency-replayed" not in answer.headers
    again = await api("ann").post(path, json={}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
