"""What holds for every operation of the API alike, driven by the document that describes it.

Nobody gets at what isn't theirs, and nobody learns whether it is there. No operation costs more statements than is
known, however many things it shows.
"""

import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.realtime.service import following
from agentplat.server.app import create_app
from agentplat.server.openapi import document
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.operations import OPERATIONS, Ids, Operation
from tests.support.statements import said

PERMISSIONS = ["IDENTITY", "READ_BLOCK", "EXECUTE_BLOCK", "EXECUTE_GRAPH", "READ_GRAPH"]
BY_NAME = {one.name: one for one in OPERATIONS}


@pytest.fixture(scope="module")
def served() -> dict[str, dict[str, Any]]:
    """The operations of the document, by method and path."""
    paths = json.loads(document(create_app(Settings())))["paths"]
    return {f"{method.upper()} {path}": one for path, item in paths.items() for method, one in item.items()}


@pytest.fixture
async def ids(api: Api, db: Database, redis: Redis) -> AsyncIterator[Ids]:
    """What belongs to Ann: several of each, and one of each by the name that paths have for it."""
    ann = api("ann")
    graph = (await created(ann), await created(ann), await created(ann))[0]
    runs = [(await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={})).json() for _ in range(3)]
    shared = await ann.post(f"/api/graphs/{graph['id']}/executions/{runs[0]['id']}/share")
    keys = [(await key_of(ann, *PERMISSIONS)) for _ in range(2)]
    belongings = {
        "user_id": "ann",
        "graph_id": graph["id"],
        "graph_exec_id": runs[0]["id"],
        "other_run": runs[1]["id"],
        "share_token": shared.json()["share_token"],
        "key_id": keys[1]["api_key"]["id"],
        "api_key": keys[0]["plain_text_key"],
    }
    async with following():  # for the streams
        yield belongings


async def key_of(client: httpx.AsyncClient, *permissions: str) -> dict[str, Any]:
    answer = await client.post("/api/api-keys", json={"name": "program", "permissions": permissions})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def needs_key(operation: dict[str, Any]) -> bool:
    return "x-required-permission" in operation


def test_every_operation_has_a_line(served: dict[str, Any]) -> None:
    assert sorted(served) == sorted(BY_NAME)
    assert len(BY_NAME) == len(OPERATIONS)
    for name, one in BY_NAME.items():
        assert ("/admin/" in name) == one.admin, "administrators' operations are known by their path"


def with_nobodys_ids(name: str) -> tuple[str, str, Any]:
    one = BY_NAME[name]
    return one.call(defaultdict(lambda: NOBODYS_ID, dict.fromkeys(one.ids, NOBODYS_ID)))


async def test_nobody_comes_in_without_a_token_that_is_good(api: Api, served: dict[str, Any]) -> None:
    strangers = (
        api(),
        api("ann", exp=int(time.time()) - 60),
        api("ann", aud="somebody-else"),
        api("ann", role="admin", aud=None),
    )
    for name, operation in served.items():
        if not operation.get("security") or needs_key(operation):
            continue
        method, url, body = with_nobodys_ids(name)
        for stranger in strangers:
            answer = await stranger.request(method, url, json=body)
            assert (name, answer.status_code, answer.json()["code"]) == (name, 401, "unauthenticated")
        # Who is no administrator doesn't act as anybody else either.
        answer = await api("bob").request(method, url, json=body, headers={"X-Act-As-User-Id": "ann"})
        assert (name, answer.status_code) == (name, 403)


async def test_programs_need_a_key_with_the_permission(api: Api, served: dict[str, Any], redis: Redis) -> None:
    ann = api("ann", role="admin")
    for name, operation in served.items():
        if not needs_key(operation):
            continue
        needed = operation["x-required-permission"]
        method, url, body = with_nobodys_ids(name)
        # Whoever it is otherwise: a token is no key, and a wrong key is not made good by one.
        for key in (None, "", "agpt_" + "A" * 43, "é".encode()):
            answer = await ann.request(method, url, json=body, headers={} if key is None else {"X-API-Key": key})
            assert (name, answer.status_code, answer.json()["code"]) == (name, 401, "unauthenticated")
        others = await key_of(ann, *(one for one in PERMISSIONS if one != needed))
        refused = await api().request(method, url, json=body, headers={"X-API-Key": others["plain_text_key"]})
        assert (name, refused.status_code, refused.json()["code"]) == (name, 403, "permission_missing")
        assert refused.json()["detail"].endswith(needed)
        enough = await key_of(ann, needed)
        allowed = await api().request(method, url, json=body, headers={"X-API-Key": enough["plain_text_key"]})
        assert allowed.status_code not in (401, 403, 500), (name, allowed.text)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.admin], ids=lambda one: one.name)
async def test_administrators_are_asked_for(api: Api, ids: Ids, operation: Operation) -> None:
    method, url, body = operation.call(ids)
    refused = await api("bob").request(method, url, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await api("root", role="admin").request(method, url, json=body)).status_code == operation.answer


async def test_what_is_somebody_elses_is_not_there(api: Api, db: Database, served: dict[str, Any], ids: Ids) -> None:
    """A foreign id and an unknown one get the same answer to the byte, and neither changes anything."""
    bob = api("bob")
    program = api()
    program.headers["X-API-Key"] = (await key_of(bob, *PERMISSIONS))["plain_text_key"]
    own = {"graph_id": (await created(bob))["id"]}
    nobodys = dict.fromkeys(ids, NOBODYS_ID)
    before = await contents(db)
    for operation in (one for one in OPERATIONS if one.ids and not one.admin):
        document = served[operation.name]
        client = program if needs_key(document) else bob
        # What is public is nobody's: whoever has its id may see it.
        foreign = ids if document.get("security") else nobodys
        given = [foreign, nobodys]
        if len(operation.ids) > 1:
            given += [foreign | own, nobodys | own]
        answers = {await said_to(client, operation, one) for one in given}
        assert [(operation.name, status) for status, _ in answers] == [(operation.name, operation.foreign)], answers
        for malformed in ("not-an-id", "%00", "a" * 3000):
            status, text = await said_to(client, operation, dict.fromkeys(ids, malformed))
            assert status in (operation.foreign, 404, 422), (operation.name, malformed, text)
        assert await contents(db) == before, operation.name


async def said_to(client: httpx.AsyncClient, operation: Operation, ids: Ids) -> tuple[int, str]:
    """The answer without what was asked for."""
    method, url, body = operation.call(ids)
    answer = await client.request(method, url, json=body)
    text = answer.text
    for one in operation.ids:
        text = text.replace(ids[one], "ID")
    return answer.status_code, text


async def contents(db: Database) -> dict[str, str]:
    """What all tables hold, but for when a key was last used."""
    tables = await db.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    )
    row = "(to_jsonb(t) - 'last_used_at')::text"
    return {
        name: await db.fetchval(f"SELECT md5(string_agg({row}, '' ORDER BY {row})) FROM \"{name}\" AS t")
        for name in (one["relname"] for one in tables)
    }


# What hears of ends of runs asks this when it begins, in the background.
BACKGROUND = "SELECT id FROM runs WHERE id = ANY($1::text[]) AND status IN ('COMPLETED'"


async def test_statements_are_counted(api: Api, served: dict[str, Any], ids: Ids) -> None:
    """As its owner calls each. There are several of everything, so one statement per thing would show."""
    ann, root, program = api("ann"), api("root", role="admin"), api()
    program.headers["X-API-Key"] = ids["api_key"]
    wrong = {}
    for operation in sorted((one for one in OPERATIONS if one.statements is not None), key=in_order):
        client = program if needs_key(served[operation.name]) else root if operation.admin else ann
        method, url, body = operation.call(ids)
        if method == "GET":
            await client.get(url)  # what is remembered is known from now on
        with said() as statements:
            answer = await client.request(method, url, json=body)
        counted = [" ".join(one.split()) for one in statements if not one.startswith(BACKGROUND)]
        if (answer.status_code, len(counted)) != (operation.answer, operation.statements):
            wrong[operation.name] = [answer.status_code, len(counted), *counted]
    assert wrong == {}


def in_order(operation: Operation) -> tuple[int, int]:
    """What only looks comes first, what deletes last, and of that what is farther down first."""
    return ["GET", "POST", "PUT", "PATCH", "DELETE"].index(operation.method), -len(operation.path)
