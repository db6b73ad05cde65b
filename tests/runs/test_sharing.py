"""Runs that their owner shows to everybody."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from agentplat.infra.db import Database
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.client import User
from tests.support.drawing import INPUT, OUTPUT, SLOW, STORE, draw

SHOWN = {"id", "graph_name", "graph_description", "status", "created_at", "outputs"}


async def public(base: str, token: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=base) as anybody:
        return await anybody.get(f"/api/public/shared/{token}")


async def test_what_a_shared_run_shows(base_url: str, make_token: Callable[..., str]) -> None:
    secret = "the-input-itself"
    drawn = draw(
        {
            "in": (INPUT, {"name": "said"}),
            "slow": (SLOW, {"v": 7, "delay": 60}),
            "done": (STORE, {"input": "done"}),
            "out": (OUTPUT, {"name": "heard"}),
        },
        "done.output -> out.value",
    )
    async with User(base_url, make_token(f"sharer-{uuid4()}")) as user:
        graph, _ = await user.create(drawn)
        run = await user.start(graph, {"said": secret})
        path = f"/api/graphs/{graph['id']}/executions/{run['id']}"
        link = (await user.http.post(f"{path}/share")).json()
        token = link["share_token"]
        assert link["share_url"].endswith(f"/share/{token}")
        assert (await public(base_url, token)).json()["status"] in ("QUEUED", "RUNNING")
        while not (going := (await public(base_url, token)).json())["outputs"]:
            assert going["status"] in ("QUEUED", "RUNNING")
        assert going["outputs"] == {"heard": ["done"]}
        await user.stop(run)
        answer = await public(base_url, token)
        assert set(answer.json()) == SHOWN
        assert answer.json() | {"created_at": ""} == {
            "id": run["id"],
            "graph_name": graph["name"],
            "graph_description": graph["description"],
            "status": "TERMINATED",
            "created_at": "",
            "outputs": {"heard": ["done"]},
        }
        assert secret not in answer.text
        assert user.token not in answer.text
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert "no-store" in answer.headers["cache-control"]
        seen = (await user.http.get(path)).json()
        assert (seen["is_shared"], seen["share_token"]) == (True, token)


async def test_a_link_works_until_the_next_one_or_the_end(api: Api) -> None:
    ann, anybody = api("ann"), api()
    graph = await created(ann)
    run = (await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={})).json()
    path = f"/api/graphs/{graph['id']}/executions/{run['id']}"

    async def shown(token: str) -> int:
        return (await anybody.get(f"/api/public/shared/{token}")).status_code

    async def share(**how: Any) -> str:
        answer = await ann.post(f"{path}/share", **how)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["share_token"])

    first = await share()
    second = await share(json={"unknown": 1})
    assert (await shown(first), await shown(second)) == (404, 200)
    for _ in range(2):
        assert (await ann.delete(f"{path}/share")).status_code == 204
        assert await shown(second) == 404
    assert (await ann.get(path)).json()["share_token"] is None
    third = await share(json={})
    assert await shown(third) == 200
    await ann.delete(f"/api/executions/{run['id']}")
    assert await shown(third) == 404
    assert (await ann.post(f"{path}/share")).status_code == 404


async def test_a_run_is_shared_under_its_own_graph_by_its_owner(api: Api, db: Database) -> None:
    ann = api("ann")
    graph, other = await created(ann), await created(ann)
    run = (await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={})).json()
    for client, graph_id in ((ann, other["id"]), (api("bob"), graph["id"]), (ann, "x"), (ann, NOBODYS_ID)):
        for method in ("POST", "DELETE"):
            answer = await client.request(method, f"/api/graphs/{graph_id}/executions/{run['id']}/share")
            assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
    assert await db.fetchval("SELECT count(*) FROM runs WHERE is_shared OR share_token IS NOT NULL") == 0


async def test_tokens_that_are_none(api: Api) -> None:
    unknown = await api().get(f"/api/public/shared/{NOBODYS_ID}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "share_not_found")
    for token in ("x", NOBODYS_ID.replace("0", "A"), "%00"):
        refused = await api().get(f"/api/public/shared/{token}")
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["path", "share_token"])
