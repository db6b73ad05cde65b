"""What programs can do with an API key."""

from typing import Any

import httpx

from tests.support.api import NOBODYS_ID, Api, created
from tests.support.client import User as Client
from tests.support.graphs import INPUT, OUTPUT, STORE

V1 = "/external-api/v1"
ALL = [
    *("IDENTITY", "READ_BLOCK", "EXECUTE_BLOCK", "EXECUTE_GRAPH", "READ_GRAPH"),
    *("READ_INTEGRATIONS", "MANAGE_INTEGRATIONS", "DELETE_INTEGRATIONS"),
]


async def key_of(client: httpx.AsyncClient, *permissions: str) -> dict[str, str]:
    body = {"name": "program", "permissions": permissions or ALL}
    response = await client.post("/api/api-keys", json=body)
    assert response.status_code == 200, response.text
    return {"X-API-Key": response.json()["plain_text_key"]}


async def test_a_key_opens_nothing_else(api: Api) -> None:
    headers = await key_of(api("ann"))
    assert (await api().get("/api/graphs", headers=headers)).status_code == 401
    acting = headers | {"X-Act-As-User-Id": "bob"}
    assert (await api().get(f"{V1}/me", headers=acting)).json()["id"] == "ann"


async def test_me(api: Api) -> None:
    ann = api("ann", user_metadata={"name": "Ann"})
    headers = await key_of(ann)
    await ann.post("/api/auth/user/timezone", json={"timezone": "Asia/Tokyo"})
    response = await api().get(f"{V1}/me", headers=headers)
    assert response.json() == {"id": "ann", "name": "Ann", "email": "ann@example.com", "timezone": "Asia/Tokyo"}


async def found(api: Api, headers: dict[str, str], query: str) -> Any:
    response = await api().post(f"{V1}/tools/find-agent", json={"query": query}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_own_agents_are_found_by_their_words(api: Api) -> None:
    ann, bob = api("ann"), api("bob")
    headers = await key_of(ann, "USE_TOOLS")
    letters = await created(ann, name="Letter writer", description="Writes to Ada")
    news = await created(ann, name="News", description="A letter with what is new, 100% of it")
    await created(bob, name="Letters of Bob")
    answer = await found(api, headers, " LETTER\0")
    assert [one["graph_id"] for one in answer["agents"]] == [letters["id"], news["id"]]
    assert (answer["type"], answer["name"], answer["count"]) == ("agents_found", "agents_found", 2)
    assert answer["agents"][0] | {"id": "", "graph_id": ""} == {
        **dict.fromkeys(["creator", "category", "rating", "runs", "is_featured", "status"]),
        **dict.fromkeys(["has_external_trigger", "new_output"]),
        "id": "",
        "graph_id": "",
        "name": "Letter writer",
        "description": "Writes to Ada",
        "source": "library",
        "in_library": True,
        "can_access_graph": True,
    }
    assert [one["name"] for one in (await found(api, headers, "letter 100%"))["agents"]] == ["News"]
    for nothing in ("bob", "le%er", "letter _ writer"):
        assert (await found(api, headers, nothing))["type"] == "no_results"
    assert (await found(api, headers, " "))["type"] == "error"
    await ann.delete(f"/api/graphs/{letters['id']}")
    assert [one["name"] for one in (await found(api, headers, "letter"))["agents"]] == ["News"]
    for number in range(6):
        await created(ann, name=f"Many {number}")
    assert (await found(api, headers, "many"))["count"] == 5


async def test_blocks(api: Api) -> None:
    headers = await key_of(api("ann"))
    listed = await api().get(f"{V1}/blocks", headers=headers)
    assert any(block["id"] == STORE for block in listed.json())
    assert "no-store" in listed.headers["cache-control"]
    done = await api().post(f"{V1}/blocks/{STORE}/execute", json={"input": 7}, headers=headers)
    assert done.json() == {"output": [7]}
    assert (await api().post(f"{V1}/blocks/{NOBODYS_ID}/execute", json={}, headers=headers)).status_code == 404


async def test_a_run_from_start_to_results(platform: Any, make_token: Any) -> None:
    async with Client(platform.url, make_token("ann")) as ann:
        graph = await created(ann.http)
        headers = await key_of(ann.http)
        async with httpx.AsyncClient(base_url=platform.url + V1, headers=headers) as program:
            started = await program.post(f"/graphs/{graph['id']}/execute/1", json={"node_input": {"said": "hi"}})
            assert started.status_code == 200, started.text
            run = {"id": started.json()["id"], "graph_id": graph["id"]}
            await ann.finished(run)
            result = (await program.get(f"/graphs/{graph['id']}/executions/{run['id']}/results")).json()
    assert (result["execution_id"], result["status"], result["output"]) == (run["id"], "COMPLETED", [{"heard": "hi"}])
    inputs = {node["node_id"]: node["input"] for node in result["nodes"]}
    stored = {node["block_id"]: inputs.pop(node["id"]) for node in graph["nodes"]}
    # Only the second has no pin `value`.
    assert stored == {INPUT: "hi", STORE: {"input": "hi"}, OUTPUT: "hi"}
    assert inputs == {}
    assert all(isinstance(node["output"], dict) for node in result["nodes"])
