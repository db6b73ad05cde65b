"""Graphs that run other graphs, on the real database."""

from typing import Any

import httpx
import pytest

from agentplat.infra.db import Database
from tests.support.api import Api, created, echo_graph
from tests.support.blocks import NestedBlock


def nested(node_id: str, graph_id: str, version: int = 1) -> dict[str, Any]:
    constants = {
        "user_id": "somebody else",
        "graph_id": graph_id,
        "graph_version": version,
        "input_schema": {"properties": {"said": {}}},
        "output_schema": {"properties": {"heard": {}}},
    }
    return {"id": node_id, "block_id": NestedBlock.id, "input_default": constants}


def family() -> dict[str, Any]:
    """A parent that runs a child that runs a grandchild. As in exports, the ids that nodes name are stale."""
    child = echo_graph(id="c", version=2, name="child")
    child["nodes"] = [*child["nodes"], nested("n", "stale", 3)]
    grandchild = echo_graph(id="g", version=3, name="grandchild", is_active=False)
    return {"nodes": [nested("n", "stale", 2)], "links": [], "sub_graphs": [child, grandchild]}


async def get(client: httpx.AsyncClient, graph_id: str) -> Any:
    response = await client.get(f"/api/graphs/{graph_id}")
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_family_is_stored_and_read_back_together(api: Api, db: Database) -> None:
    ann = api("ann")
    stored = await created(ann, **family())
    child, grandchild = stored["sub_graphs"]
    assert (child["name"], child["version"], grandchild["name"]) == ("child", 2, "grandchild")
    assert stored["nodes"][0]["input_default"]["graph_id"] == child["id"] != "c"
    assert child["nodes"][-1]["input_default"]["graph_id"] == grandchild["id"] != "g"
    assert child["nodes"][-1]["input_default"]["user_id"] == "ann"
    assert child["nodes"][-1]["input_default"]["inputs"] == {}
    assert "input_links" in child["nodes"][0]
    assert await get(ann, stored["id"]) == stored
    library = await db.fetch("SELECT graph_id, graph_version FROM library_agents")
    assert {(row["graph_id"], row["graph_version"]) for row in library} == {
        (part["id"], part["version"]) for part in (stored, child, grandchild)
    }


async def test_an_export_of_a_family_names_no_owner(api: Api) -> None:
    ann = api("ann-of-whom-nobody-knows")
    stored = await created(ann, **family())
    exported = await ann.get(f"/api/graphs/{stored['id']}", params={"for_export": "true"})
    assert len(exported.json()["sub_graphs"]) == 2
    assert "ann-of-whom-nobody-knows" not in exported.text
    again = await created(api("bob"), **exported.json())
    assert again["nodes"][0]["input_default"]["user_id"] == "bob"


async def test_an_update_leaves_known_sub_graphs_alone_and_stores_new_ones(api: Api, db: Database) -> None:
    ann = api("ann")
    stored = await created(ann, **family())
    stored["sub_graphs"][0]["name"] = "a version never changes"
    stored["sub_graphs"].append(echo_graph(id="new\0", name="new"))
    stored["nodes"].append(nested("m", "new\0"))
    response = await ann.put(f"/api/graphs/{stored['id']}", json=stored)
    assert response.status_code == 200, response.text
    updated = response.json()
    assert sorted(part["name"] for part in updated["sub_graphs"]) == ["child", "grandchild", "new"]
    assert await db.fetchval("SELECT count(*) FROM graph_versions") == 5
    assert updated == await get(ann, stored["id"])


async def test_a_further_version_of_a_known_sub_graph_does_not_take_the_others_along(api: Api) -> None:
    ann = api("ann")
    known = await created(ann, name="known")
    stored = await created(ann, nodes=[nested("a", known["id"])], links=[])
    stored["nodes"].append(nested("b", known["id"], 2))
    odd = nested("c", known["id"])
    odd["input_default"]["graph_version"] = ["no number"]
    stored["sub_graphs"].append(echo_graph(id=known["id"], version=2, name="further"))
    answer = await ann.put(f"/api/graphs/{stored['id']}", json=stored | {"nodes": [*stored["nodes"], odd]})
    updated = answer.json()
    first, second, _ = (node["input_default"]["graph_id"] for node in updated["nodes"])
    assert first == known["id"] != second
    assert {part["name"]: (part["id"], part["version"]) for part in updated["sub_graphs"]} == {
        "known": (first, 1),
        "further": (second, 2),
    }


@pytest.mark.parametrize("version", [2, 99])
async def test_a_graph_stays_itself_whatever_it_is_said_to_run(api: Api, version: int) -> None:
    ann = api("ann")
    stored = await created(ann)
    runs = echo_graph(id=stored["id"], version=version, name="other")
    body = stored | {"nodes": [nested("n", stored["id"], version)], "links": [], "sub_graphs": [runs]}
    updated = (await ann.put(f"/api/graphs/{stored['id']}", json=body)).json()
    assert (updated["id"], updated["version"], updated["is_active"]) == (stored["id"], 2, True)
    (other,) = updated["sub_graphs"]
    assert (other["name"], other["version"]) == ("other", version)
    assert updated["nodes"][0]["input_default"]["graph_id"] == other["id"] != stored["id"]


async def test_foreign_sub_graphs_stay_foreign(api: Api) -> None:
    secret = await created(api("ann"), name="secret")
    spying = await created(api("bob"), nodes=[nested("n", secret["id"])], links=[])
    assert spying["sub_graphs"] == []
    assert (await get(api("bob"), spying["id"]))["sub_graphs"] == []


async def test_a_graph_that_runs_itself_is_shown_once(api: Api) -> None:
    stored = await created(api("ann"), id="me", nodes=[nested("n", "me")], links=[])
    assert stored["nodes"][0]["input_default"]["graph_id"] == stored["id"]
    assert (await get(api("ann"), stored["id"]))["sub_graphs"] == []


async def test_two_versions_of_a_sub_graph_stay_apart(api: Api, db: Database) -> None:
    old, new = echo_graph(id="c", version=1, name="old"), echo_graph(id="c", version=2, name="new")
    nodes = [nested("a", "c", 1), nested("b", "c", 2)]
    stored = await created(api("ann"), nodes=nodes, links=[], sub_graphs=[old, new])
    assert [(part["name"], part["is_active"]) for part in stored["sub_graphs"]] == [("old", False), ("new", True)]
    assert stored["sub_graphs"][0]["id"] == stored["sub_graphs"][1]["id"]
    assert await db.fetchval("SELECT count(*) FROM library_agents") == 2
