"""Schedules over HTTP: made, shown, changed, paused, deleted; and what is refused."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.schedules.models import Schedule
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.statements import said
from tests.support.switches import environment_of

pytestmark = pytest.mark.usefixtures("redis")

DAILY = {"name": "Nightly", "cron": "30 2 * * *", "inputs": {"said": "good night"}}


async def ok(call: Any) -> Any:
    response = await call
    assert response.status_code == 200, response.text
    return response.json()


async def made(client: Any, graph: Any, **members: Any) -> Any:
    return await ok(client.post(f"/api/graphs/{graph['id']}/schedules", json={**DAILY, **members}))


async def test_a_schedule_is_shown_as_the_contract_has_it(api: Api) -> None:
    ann = api("ann")
    graph = await created(ann)
    schedule = await made(ann, graph, timezone="Europe/Berlin")
    assert schedule["id"] == schedule["schedule_id"]
    assert (
        schedule
        | {
            "name": "Nightly",
            "user_id": "ann",
            "graph_id": graph["id"],
            "graph_version": 1,
            "agent_name": "Echo",
            "cron": "30 2 * * *",
            "input_data": {"said": "good night"},
            "input_credentials": {},
            "timezone": "Europe/Berlin",
            "missed_runs": "one",
            "paused": False,
            "last_run_time": None,
        }
        == schedule
    )
    following = datetime.fromisoformat(schedule["next_run_time"])
    assert following.utcoffset() in (timedelta(hours=1), timedelta(hours=2))
    assert now() < following <= now() + timedelta(hours=25)
    assert await ok(ann.get("/api/schedules")) == [schedule]
    assert await ok(ann.get(f"/api/graphs/{graph['id']}/schedules")) == [schedule]
    assert await ok(ann.get(f"/api/graphs/{NOBODYS_ID}/schedules")) == []
    assert await ok(ann.get(f"/api/schedules/{schedule['id']}")) == schedule


async def test_the_zone_is_the_users_own_where_none_is_given(api: Api) -> None:
    ann = api("ann")
    graph = await created(ann)
    assert (await made(ann, graph))["timezone"] == "UTC"
    await ok(ann.post("/api/auth/user/timezone", json={"timezone": "Asia/Tokyo"}))
    assert (await made(ann, graph, timezone=""))["timezone"] == "Asia/Tokyo"
    assert (await made(ann, graph, timezone="UTC"))["timezone"] == "UTC"


async def test_the_version_is_fixed_when_it_is_made(api: Api) -> None:
    ann = api("ann")
    graph = await created(ann)
    schedule = await made(ann, graph)
    stored = await ok(ann.put(f"/api/graphs/{graph['id']}", json={**graph, "is_active": True}))
    assert stored["version"] == 2
    assert (await ok(ann.get(f"/api/schedules/{schedule['id']}")))["graph_version"] == 1
    assert (await made(ann, graph))["graph_version"] == 2
    assert (await made(ann, graph, graph_version=1))["graph_version"] == 1


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"cron": 5}, ["body", "cron"]),
        ({"timezone": "Mars/Olympus"}, ["body", "timezone"]),
        ({"timezone": "../etc/passwd"}, ["body", "timezone"]),
        ({"name": "a\0b"}, ["body", "name"]),
        ({"name": "a\n"}, ["body", "name"]),
        ({"name": "x" * 501}, ["body", "name"]),
        ({"missed_runs": "some"}, ["body", "missed_runs"]),
        ({"graph_version": 0}, ["body", "graph_version"]),
        ({"inputs": {"said": "x" * 300_000}}, ["body", "inputs"]),
    ],
)
async def test_what_is_wrong_is_named(api: Api, members: dict[str, Any], place: list[str]) -> None:
    ann = api("ann")
    graph = await created(ann)
    schedule = await made(ann, graph)
    for method, path in (
        ("POST", f"/api/graphs/{graph['id']}/schedules"),
        ("PATCH", f"/api/schedules/{schedule['id']}"),
    ):
        refused = await ann.request(method, path, json={**DAILY, **members})
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"][0]["loc"] == place
    assert await ok(ann.get("/api/schedules")) == [schedule]


@pytest.mark.parametrize(
    "cron", ["* * * *", "* * * * * *", "61 * * * *", "* * * * 8", "0 0 31 2 *", "@daily", "0 0 5L * *", "", "\0"]
)
async def test_a_cron_expression_that_is_none_is_refused_as_the_contract_has_it(api: Api, cron: str) -> None:
    ann = api("ann")
    graph = await created(ann)
    schedule = await made(ann, graph)
    for refused in (
        await ann.post(f"/api/graphs/{graph['id']}/schedules", json={**DAILY, "cron": cron}),
        await ann.patch(f"/api/schedules/{schedule['id']}", json={"cron": cron}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (400, "schedule_invalid")
        assert refused.json()["detail"].startswith("cron: ")
    assert await ok(ann.get("/api/schedules")) == [schedule]


async def test_a_schedule_that_fires_too_often_is_refused(api: Api) -> None:
    ann = api("ann")
    graph = await created(ann)
    with environment_of(AGENTPLAT_SCHEDULE_MIN_INTERVAL="600"):
        refused = await ann.post(f"/api/graphs/{graph['id']}/schedules", json={**DAILY, "cron": "0,5 9 * * *"})
        assert (refused.status_code, refused.json()["code"]) == (400, "schedule_invalid")
        assert "every 300 seconds" in refused.json()["message"]
        await made(ann, graph, cron="*/10 * * * *")


async def test_nobody_has_more_schedules_than_there_may_be(api: Api) -> None:
    ann, bob = api("ann"), api("bob")
    graph = await created(ann)
    with environment_of(AGENTPLAT_MAX_SCHEDULES_PER_USER="2"):
        first, _ = await made(ann, graph), await made(ann, graph)
        refused = await ann.post(f"/api/graphs/{graph['id']}/schedules", json=DAILY)
        assert (refused.status_code, refused.json()["code"]) == (409, "too_many_schedules")
        await made(bob, await created(bob))
        await ok(ann.delete(f"/api/schedules/{first['id']}"))
        await made(ann, graph)
        cid = api("cid")
        path = f"/api/graphs/{(await created(cid))['id']}/schedules"
        answers = await asyncio.gather(*(cid.post(path, json=DAILY) for _ in range(12)))
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [409] * 10
        assert len(await ok(cid.get("/api/schedules"))) == 2


async def test_a_run_that_could_not_start_is_refused_when_its_schedule_is_made(api: Api) -> None:
    ann = api("ann")
    graph = await created(
        ann,
        nodes=[{"id": "n", "block_id": "1ff065e9-88e8-4358-9d82-8dc91f622ba9"}],
        links=[],
    )
    refused = await ann.post(f"/api/graphs/{graph['id']}/schedules", json=DAILY)
    assert refused.status_code == 400
    assert refused.json()["detail"]["node_errors"] == {graph["nodes"][0]["id"]: {"input": refused_field(refused)}}
    unknown = await ann.post(f"/api/graphs/{graph['id']}/schedules", json={**DAILY, "graph_version": 7})
    assert unknown.status_code == 404


def refused_field(response: Any) -> str:
    (fields,) = response.json()["detail"]["node_errors"].values()
    (message,) = fields.values()
    assert message
    return str(message)


# Every operation that takes the id of a schedule; a new one has to be added here to pass test_every_operation_is_here.
OPERATIONS = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/run"),
    ("GET", "/preview"),
    ("GET", "/firings"),
]


async def test_schedules_of_others_are_not_there(api: Api, db: Database) -> None:
    ann, bob = api("ann"), api("bob")
    graph = await created(ann)
    schedule = await made(ann, graph)
    await created(bob)
    for method, rest in OPERATIONS:
        answers = []
        for schedule_id in (schedule["id"], NOBODYS_ID, "x"):
            body = {"name": "stolen"} if method == "PATCH" else None
            answers.append(await bob.request(method, f"/api/schedules/{schedule_id}{rest}", json=body))
            assert (answers[-1].status_code, answers[-1].json()["code"]) == (404, "schedule_not_found")
        mine, others = (
            one.text.replace(id_, "") for one, id_ in zip(answers, (schedule["id"], NOBODYS_ID), strict=False)
        )
        assert mine == others
        assert (await api().request(method, f"/api/schedules/{schedule['id']}{rest}")).status_code == 401
    for graph_id in (graph["id"], NOBODYS_ID):
        assert (await bob.post(f"/api/graphs/{graph_id}/schedules", json=DAILY)).status_code == 404
        assert await ok(bob.get(f"/api/graphs/{graph_id}/schedules")) == []
    assert await ok(bob.get("/api/schedules")) == []
    assert await ok(ann.get("/api/schedules")) == [schedule]
    assert await db.fetchval("SELECT count(*) FROM runs") == 0


async def test_every_operation_is_here(api: Api) -> None:
    paths = (await api().get("/openapi.json")).json()["paths"]
    prefix = "/api/schedules/{schedule_id}"
    served = {
        (method.upper(), path.removeprefix(prefix))
        for path, item in paths.items()
        for method in item
        if path.startswith(prefix)
    }
    assert served == set(OPERATIONS)


async def test_deleting(api: Api) -> None:
    ann = api("ann")
    schedule = await made(ann, await created(ann))
    assert await ok(ann.delete(f"/api/schedules/{schedule['id']}")) == {"id": schedule["id"]}
    assert (await ann.delete(f"/api/schedules/{schedule['id']}")).status_code == 404


async def test_schedules_go_with_their_graph(api: Api, db: Database) -> None:
    ann = api("ann")
    graph, other = await created(ann), await created(ann)
    await made(ann, graph)
    kept = await made(ann, other)
    await ok(ann.delete(f"/api/graphs/{graph['id']}"))
    assert await ok(ann.get("/api/schedules")) == [kept]


async def test_changing(api: Api, redis: Redis) -> None:
    ann = api("ann")
    schedule = await made(ann, await created(ann), timezone="Europe/Berlin")
    path = f"/api/schedules/{schedule['id']}"
    with said() as statements:
        renamed = await ok(ann.patch(path, json={"name": "Renamed"}))
    assert len(statements) == 2, "it is locked and written, and read while that is done"
    assert renamed == schedule | {"name": "Renamed", "updated_at": renamed["updated_at"]}
    async with redis.pubsub() as subscription:
        await subscription.subscribe("agentplat:schedules")
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        changed = await ok(
            ann.patch(path, json={"cron": "15 * * * mon", "timezone": "Asia/Tokyo", "missed_runs": "all"})
        )
        assert (await subscription.get_message(timeout=5))["type"] == "message"
    assert (changed["cron"], changed["timezone"], changed["missed_runs"]) == ("15 * * * mon", "Asia/Tokyo", "all")
    following = datetime.fromisoformat(changed["next_run_time"])
    assert (following.minute, following.isoweekday(), following.utcoffset()) == (15, 1, timedelta(hours=9))
    inputs = await ok(ann.patch(path, json={"inputs": {"said": "hi"}}))
    assert (inputs["input_data"], inputs["next_run_time"]) == ({"said": "hi"}, changed["next_run_time"])
    assert (await ann.patch(path, json={"graph_version": 9})).status_code == 404
    assert await ok(ann.get(path)) == inputs


async def test_pausing_and_resuming(api: Api, db: Database) -> None:
    ann = api("ann")
    schedule = await made(ann, await created(ann))
    path = f"/api/schedules/{schedule['id']}"
    for _ in range(2):
        paused = await ok(ann.post(f"{path}/pause"))
        assert paused["paused"]
        assert paused["pause_reason"]
        assert paused["next_run_time"] == schedule["next_run_time"]
        assert await db.fetchval("SELECT next_run_at FROM schedules") is None
    assert (await ok(ann.patch(path, json={"cron": "0 5 * * *"})))["paused"]
    for _ in range(2):
        resumed = await ok(ann.post(f"{path}/resume"))
        assert not resumed["paused"]
        assert resumed["pause_reason"] is None
        assert datetime.fromisoformat(resumed["next_run_time"]).hour == 5


async def test_starting_at_once(api: Api, db: Database) -> None:
    ann = api("ann")
    graph = await created(ann)
    schedule = await made(ann, graph)
    run = await ok(ann.post(f"/api/schedules/{schedule['id']}/run"))
    assert (run["graph_id"], run["status"], run["inputs"]) == (graph["id"], "QUEUED", DAILY["inputs"])
    assert await ok(ann.get(f"/api/schedules/{schedule['id']}")) == schedule


async def test_previews(api: Api) -> None:
    ann = api("ann")
    schedule = await made(ann, await created(ann), timezone="America/New_York")
    shown = await ok(ann.get(f"/api/schedules/{schedule['id']}/preview", params={"count": 3}))
    assert (shown["timezone"], len(shown["times"])) == ("America/New_York", 3)
    assert shown["times"][0] == schedule["next_run_time"]
    query = {"cron": "0 9 * * 0", "timezone": "Europe/Berlin", "count": 60}
    shown = await ok(ann.get("/api/schedules/preview", params=query))
    times = [datetime.fromisoformat(time) for time in shown["times"]]
    assert {(time.hour, time.isoweekday()) for time in times} == {(9, 7)}
    assert {str(time.utcoffset()) for time in times} == {"1:00:00", "2:00:00"}
    assert (await ok(ann.get("/api/schedules/preview", params={"cron": "0 9 * * *"})))["timezone"] == "UTC"
    refused = await ann.get("/api/schedules/preview", params={"cron": "x"})
    assert (refused.status_code, refused.json()["code"]) == (400, "schedule_invalid")
    for wrong, name in (
        ({"cron": "* * * * *", "timezone": "x"}, "timezone"),
        ({"cron": "* * * * *", "count": 101}, "count"),
    ):
        refused = await ann.get("/api/schedules/preview", params=wrong)
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", name])


@pytest.mark.parametrize(
    "before", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", "1e400"]
)
async def test_a_time_that_is_none_is_named(api: Api, before: str) -> None:
    ann = api("ann")
    path = f"/api/schedules/{(await made(ann, await created(ann)))['id']}/firings"
    refused = await ann.get(path, params={"before": before})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "before"])
    assert await ok(ann.get(path, params={"before": "2026-01-01T00:00:00Z"})) == {"firings": [], "next_before": None}


async def test_lists_cost_one_statement_however_long_they_are(api: Api) -> None:
    ann = api("ann")
    graph = await created(ann)
    for _ in range(3):
        await made(ann, graph)
    for path in ("/api/schedules", f"/api/graphs/{graph['id']}/schedules"):
        with said() as statements:
            assert len(await ok(ann.get(path))) == 3
        assert len(statements) == 1


async def test_nothing_of_a_schedule_is_missing_in_the_answer(api: Api) -> None:
    ann = api("ann")
    schedule = await made(ann, await created(ann))
    assert set(schedule) == set(Schedule.__struct_fields__)
