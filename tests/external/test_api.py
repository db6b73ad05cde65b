"""What programs can do with an API key."""

from typing import Any

import httpx
import pytest

from agentplat.infra.db import Database
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.client import User as Client
from tests.support.graphs import STORE

V1 = "/external-api/v1"
ALL = [
    *("IDENTITY", "READ_BLOCK", "EXECUTE_BLOCK", "EXECUTE_GRAPH", "READ_GRAPH"),
    *("READ_INTEGRATIONS", "MANAGE_INTEGRATIONS", "DELETE_INTEGRATIONS"),
]
# Operation and the permission that it needs; a new one has to be added here to pass test_every_operation_is_here.
OPERATIONS = [
    ("GET", "/me", "IDENTITY"),
    ("GET", "/blocks", "READ_BLOCK"),
    ("POST", f"/blocks/{STORE}/execute", "EXECUTE_BLOCK"),
    ("POST", f"/graphs/{NOBODYS_ID}/execute/1", "EXECUTE_GRAPH"),
    ("GET", f"/graphs/{NOBODYS_ID}/executions/{NOBODYS_ID}/results", "READ_GRAPH"),
    ("GET", "/integrations/providers", "READ_INTEGRATIONS"),
    ("GET", "/integrations/credentials", "READ_INTEGRATIONS"),
    ("GET", "/integrations/github/credentials", "READ_INTEGRATIONS"),
    ("POST", "/integrations/github/credentials", "MANAGE_INTEGRATIONS"),
    ("DELETE", f"/integrations/github/credentials/{NOBODYS_ID}", "DELETE_INTEGRATIONS"),
]


async def key_of(client: httpx.AsyncClient, *permissions: str) -> dict[str, str]:
    body = {"name": "program", "permissions": permissions or ALL}
    response = await client.post("/api/api-keys", json=body)
    assert response.status_code == 200, response.text
    return {"X-API-Key": response.json()["plain_text_key"]}


@pytest.mark.parametrize(("method", "path", "permission"), OPERATIONS)
async def test_each_operation_needs_its_permission(api: Api, method: str, path: str, permission: str) -> None:
    ann = api("ann")
    others = await key_of(ann, *(one for one in ALL if one != permission))
    refused = await api().request(method, V1 + path, json={}, headers=others)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_missing")
    assert refused.json()["detail"].endswith(permission)
    allowed = await api().request(method, V1 + path, json={}, headers=await key_of(ann, permission))
    assert allowed.status_code not in (401, 403, 500)


@pytest.mark.parametrize(("method", "path", "permission"), OPERATIONS)
async def test_only_a_key_opens_it(api: Api, method: str, path: str, permission: str) -> None:
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "agpt_" + "A" * 43}, {"X-API-Key": "é".encode()}):
        # Whoever it is otherwise: a wrong key is not made good by a token.
        response = await api("ann", role="admin").request(method, V1 + path, content=b"{", headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


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


async def test_blocks(api: Api) -> None:
    headers = await key_of(api("ann"))
    listed = await api().get(f"{V1}/blocks", headers=headers)
    assert any(block["id"] == STORE for block in listed.json())
    assert "no-store" in listed.headers["cache-control"]
    done = await api().post(f"{V1}/blocks/{STORE}/execute", json={"input": 7}, headers=headers)
    assert done.json() == {"output": [7]}
    assert (await api().post(f"{V1}/blocks/{NOBODYS_ID}/execute", json={}, headers=headers)).status_code == 404


async def test_graphs_and_runs_of_others_are_not_there(api: Api, db: Database) -> None:
    ann = api("ann")
    graph = await created(ann)
    run = (await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={})).json()
    bob = await key_of(api("bob"))
    for path in (f"/graphs/{graph['id']}/execute/1", f"/graphs/{NOBODYS_ID}/execute/1"):
        assert (await api().post(V1 + path, json={}, headers=bob)).status_code == 404
    for run_id in (run["id"], NOBODYS_ID, "x"):
        path = f"/graphs/{graph['id']}/executions/{run_id}/results"
        assert (await api().get(V1 + path, headers=bob)).status_code == 404
    assert await db.fetchval("SELECT count(*) FROM runs") == 1


async def test_every_operation_is_here(api: Api) -> None:
    document = (await api().get("/openapi.json")).json()
    served = {
        (method.upper(), operation["x-required-permission"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith(V1)
    }
    assert served == {(method, permission) for method, _, permission in OPERATIONS}


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
    assert {node["node_id"] for node in result["nodes"]} == {node["id"] for node in graph["nodes"]}
    assert all(isinstance(node["output"], dict) for node in result["nodes"])
