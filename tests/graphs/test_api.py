"""The routes under /api/graphs, on the real database."""

import asyncio
from typing import Any

import httpx
import pytest

from agentplat.infra.db import Database
from tests.support.api import Api, created, echo_graph
from tests.support.graphs import INPUT, OUTPUT, STORE

VERSION_2 = {"nodes": [{"block_id": OUTPUT, "input_default": {"name": "other"}}], "links": []}


async def ok(request: Any) -> Any:
    response: httpx.Response = await request
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_graph_comes_back_as_it_was_sent_under_new_ids(api: Api) -> None:
    ann = api("ann")
    stored = await created(ann, instructions="Read me", recommended_schedule_cron="0 9 * * *", id="mine", version=58)
    assert await ok(ann.get(f"/api/graphs/{stored['id']}")) == stored
    assert await ok(ann.get(f"/api/graphs/{stored['id']}", params={"version": 58})) == stored
    assert await ok(ann.get(f"/api/graphs/{stored['id']}/versions/58")) == stored
    assert (stored["version"], stored["is_active"], stored["user_id"]) == (58, True, "ann")
    assert (stored["instructions"], stored["recommended_schedule_cron"]) == ("Read me", "0 9 * * *")
    ids = {stored["id"], *(node["id"] for node in stored["nodes"]), *(link["id"] for link in stored["links"])}
    assert ids.isdisjoint({"mine", "in", "store", "out", ""})
    assert len(ids) == 6
    entry, store, output = stored["nodes"]
    assert store["metadata"] == {"position": {"x": 1.5, "y": 2}}
    assert [link["source_id"] for link in stored["links"]] == [entry["id"], store["id"]]
    assert all(link["is_static"] for link in stored["links"])
    assert store["input_links"] == entry["output_links"] == [stored["links"][0]]
    assert (output["graph_id"], output["graph_version"], output["webhook"]) == (stored["id"], 58, None)
    assert list(stored["input_schema"]["properties"]) == ["said"]
    assert stored["output_schema"]["required"] == ["heard"]
    assert stored["credentials_input_schema"]["properties"] == {}
    assert stored["created_at"].endswith("Z")


async def test_the_list_has_active_versions_only_and_no_nodes(api: Api) -> None:
    ann = api("ann")
    first, second = await created(ann, name="first"), await created(ann, name="second", version=3)
    hidden = await created(ann, name="hidden", is_active=False)
    await created(api("bob"), name="foreign")
    for _ in range(2):  # the second time from memory
        listed = await ok(ann.get("/api/graphs"))
        assert [graph["id"] for graph in listed] == [second["id"], first["id"]]
        assert hidden["id"] not in {graph["id"] for graph in listed}
        expected = {k: v for k, v in second.items() if k not in ("nodes", "links", "created_at")}
        assert listed[0] == expected


async def test_an_uploaded_graph_is_active_whatever_the_file_says(api: Api) -> None:
    ann = api("ann")
    body = {"graph": echo_graph(is_active=False), "source": "upload"}
    assert (await ok(ann.post("/api/graphs", json=body)))["is_active"]


async def test_an_update_is_the_next_version(api: Api) -> None:
    ann = api("ann")
    stored = await created(ann, version=7)
    updated = await ok(ann.put(f"/api/graphs/{stored['id']}", json=stored | VERSION_2))
    assert (updated["id"], updated["version"], updated["is_active"]) == (stored["id"], 8, True)
    assert list(updated["output_schema"]["properties"]) == ["other"]
    versions = await ok(ann.get(f"/api/graphs/{stored['id']}/versions"))
    assert [(v["version"], v["is_active"]) for v in versions] == [(8, True), (7, False)]
    assert versions[1]["nodes"] == stored["nodes"], "a version never changes"


async def test_an_inactive_update_leaves_the_active_version_alone(api: Api, db: Database) -> None:
    ann = api("ann")
    stored = await created(ann)
    path = f"/api/graphs/{stored['id']}"
    await ok(ann.put(path, json=stored | VERSION_2 | {"is_active": False}))
    assert [(v["version"], v["is_active"]) for v in await ok(ann.get(f"{path}/versions"))] == [(2, False), (1, True)]
    assert await db.fetchval("SELECT graph_version FROM library_agents") == 1
    assert (await ok(ann.get(path)))["version"] == 2, "without a version the highest is shown"


async def test_activating_a_version_moves_the_library_entry(api: Api, db: Database) -> None:
    ann = api("ann")
    stored = await created(ann)
    path = f"/api/graphs/{stored['id']}"
    await ok(ann.put(path, json=stored | VERSION_2))
    await ok(ann.patch(f"{path}/settings", json={"sensitive_action_safe_mode": True}))
    assert await ok(ann.put(f"{path}/versions/active", json={"active_graph_version": 1})) is None
    assert [(v["version"], v["is_active"]) for v in await ok(ann.get(f"{path}/versions"))] == [(2, False), (1, True)]
    row = await db.fetchrow("SELECT graph_version, settings FROM library_agents")
    assert row["graph_version"] == 1
    assert '"sensitive_action_safe_mode":true' in row["settings"]
    response = await ann.put(f"{path}/versions/active", json={"active_graph_version": 3})
    assert response.status_code == 404
    assert (await ok(ann.get(f"{path}/versions/1")))["is_active"], "a failed change changes nothing"


async def test_parallel_saves_get_versions_of_their_own(api: Api) -> None:
    ann = api("ann")
    stored = await created(ann)
    path = f"/api/graphs/{stored['id']}"
    saved = await asyncio.gather(*(ok(ann.put(path, json=stored | VERSION_2)) for _ in range(8)))
    assert sorted(graph["version"] for graph in saved) == list(range(2, 10))
    versions = await ok(ann.get(f"{path}/versions"))
    assert [v["version"] for v in versions if v["is_active"]] == [9]


async def test_settings_change_member_by_member(api: Api) -> None:
    ann = api("ann")
    path = f"/api/graphs/{(await created(ann))['id']}/settings"
    both = ("human_in_the_loop_safe_mode", "sensitive_action_safe_mode")
    for change, after in [
        ({}, (True, False)),
        ({"sensitive_action_safe_mode": True}, (True, True)),
        ({"human_in_the_loop_safe_mode": False}, (False, True)),
        ({"human_in_the_loop_safe_mode": None, "unknown": 1}, (True, True)),
    ]:
        changed = await ok(ann.patch(path, json=change))
        assert (changed[both[0]], changed[both[1]]) == after


async def test_malformed_stored_settings_are_the_defaults(api: Api, db: Database) -> None:
    ann = api("ann")
    graph = await created(ann)
    for stored in (
        "no json",
        "[]",
        '{"human_in_the_loop_safe_mode": "maybe"}',
        '{"human_in_the_loop_safe_mode": null}',
    ):
        await db.execute("UPDATE library_agents SET settings = $1", stored)
        changed = await ok(ann.patch(f"/api/graphs/{graph['id']}/settings", json={}))
        assert changed == {"human_in_the_loop_safe_mode": True, "sensitive_action_safe_mode": False}


async def test_settings_need_a_library_entry(api: Api, db: Database) -> None:
    ann = api("ann")
    graph = await created(ann)
    await db.execute("UPDATE library_agents SET is_deleted = true")
    assert (await ann.patch(f"/api/graphs/{graph['id']}/settings", json={})).status_code == 404


async def test_deleting_takes_versions_and_library_entry_along(api: Api, db: Database) -> None:
    ann = api("ann")
    stored = await created(ann)
    path = f"/api/graphs/{stored['id']}"
    await ok(ann.put(path, json=stored | VERSION_2))
    assert await ok(ann.delete(path)) == {"version_counts": 2}
    assert await ok(ann.delete(path)) == {"version_counts": 0}
    assert (await ann.get(path)).status_code == 404
    assert await db.fetchval("SELECT count(*) FROM library_agents") == 0


async def test_an_export_names_no_owner_and_no_secrets(api: Api) -> None:
    ann = api("ann")
    secret = {"id": "in", "block_id": INPUT, "input_default": {"name": "pin", "value": "1234", "secret": True}}
    stored = await created(ann, nodes=[secret], links=[])
    exported = await ok(ann.get(f"/api/graphs/{stored['id']}", params={"for_export": "true"}))
    assert exported["user_id"] == ""
    assert exported["nodes"][0]["input_default"] == {"name": "pin", "secret": True}
    assert "default" not in exported["input_schema"]["properties"]["pin"]
    again = await ok(ann.post("/api/graphs", json={"graph": exported}))
    assert again["id"] != stored["id"]


async def test_duplicate_links_are_kept_for_the_nodes(api: Api) -> None:
    graph = echo_graph()
    stored = await created(api("ann"), links=[*graph["links"], graph["links"][0]])
    assert len(stored["links"]) == 2
    assert len(stored["nodes"][0]["output_links"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [{"id": "x", "block_id": "no-such-block"}], "links": []}, "Invalid block no-such-block for node #x"),
        (
            {"links": [{"source_id": "in", "source_name": "nope", "sink_id": "out", "sink_name": "value"}]},
            "Link ('in', 'nope') <-> ('out', 'value'), `nope` invalid, Allowed fields:",
        ),
        (
            {"links": [{"source_id": "in", "source_name": "error", "sink_id": "out", "sink_name": "value"}]},
            "Link ('in', 'error') <-> ('out', 'value'), `error` invalid, Allowed fields:",
        ),
        (
            {"links": [{"source_id": "gone", "source_name": "result", "sink_id": "out", "sink_name": "value"}]},
            "Link ('gone', 'result') <-> ('out', 'value'), gone is invalid node id",
        ),
        (
            {"nodes": [{"id": "x", "block_id": INPUT}], "links": []},
            "AgentInputBlock #x, `name`: This field is required",
        ),
        (
            {"nodes": [{"id": "x", "block_id": STORE}, {"id": "x", "block_id": STORE}], "links": []},
            "Node id x is used twice",
        ),
    ],
)
async def test_what_is_wrong_with_a_graph_is_named(api: Api, db: Database, change: Any, message: str) -> None:
    ann = api("ann")
    response = await ann.post("/api/graphs", json={"graph": echo_graph(**change)})
    assert response.status_code == 400
    body = response.json()
    assert body["code"] == "invalid_graph"
    assert body["message"].startswith(message)
    assert body["detail"]["message"] == body["message"] == body["detail"]["problems"][0]["message"]
    assert await db.fetchval("SELECT count(*) FROM graph_versions") == 0
    stored = await created(ann)
    response = await ann.put(f"/api/graphs/{stored['id']}", json=stored | change)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_graph")


async def test_all_problems_are_named_at_once(api: Api) -> None:
    nodes = [{"id": str(i), "block_id": "no-such-block"} for i in range(150)]
    response = await api("ann").post("/api/graphs", json={"graph": echo_graph(nodes=nodes, links=[])})
    detail = response.json()["detail"]
    assert (detail["problem_count"], len(detail["problems"])) == (150, 100)
    assert detail["problems"][1]["node_id"] == "1"


async def test_the_id_in_the_body_has_to_be_that_of_the_path(api: Api) -> None:
    ann = api("ann")
    one, other = await created(ann), await created(ann)
    response = await ann.put(f"/api/graphs/{one['id']}", json=other)
    assert (response.status_code, response.json()["code"]) == (400, "graph_id_mismatch")
    without_id = {k: v for k, v in one.items() if k != "id"}
    assert (await ok(ann.put(f"/api/graphs/{one['id']}", json=without_id)))["version"] == 2
