"""Credentials in runs: who may use which, and that their secrets stay where they are needed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from agentplat.cli.supervisor import Platform
from tests.support.api import NOBODYS_ID
from tests.support.client import User, executions
from tests.support.drawing import STORE, Drawing, draw
from tests.support.vault import VAULT, VAULT_APART, fingerprint

pytestmark = pytest.mark.xdist_group("credentials-in-runs")
GROUP = "vault_api_key-host_scoped-oauth2-user_password_credentials"
SECRET = f"s3cret-{uuid4().hex}"


@pytest.fixture
async def ann(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(base_url, make_token(f"ann-{uuid4()}")) as one:
        yield one


@pytest.fixture
async def bob(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(base_url, make_token(f"bob-{uuid4()}")) as one:
        yield one


async def keep(user: User, provider: str = "vault", **members: Any) -> dict[str, Any]:
    """A reference to new credentials, as graphs and runs have it."""
    body = {"provider": provider, "api_key": SECRET, "title": "Mine", **members}
    response = await user.http.post(f"/api/integrations/{provider}/credentials", json=body)
    assert response.status_code == 201, response.text
    return {name: response.json()[name] for name in ("id", "provider", "type", "title")}


def vaults(**constants: Any) -> Drawing:
    nodes = {"here": (VAULT, constants), "apart": (VAULT_APART, constants)}
    return draw({**nodes, "s": (STORE, {})}, "here.seen -> s.input")


async def execute(user: User, graph: dict[str, Any], given: dict[str, Any] | None) -> httpx.Response:
    body = {"credentials_inputs": {GROUP: given} if given else {}}
    return await user.http.post(f"/api/graphs/{graph['id']}/execute/1", json=body)


@pytest.mark.parametrize(
    ("members", "secrets"),
    [
        ({}, [SECRET]),
        ({"type": "oauth2", "access_token": SECRET, "scopes": []}, [SECRET]),
        ({"type": "user_password", "username": "u", "password": SECRET}, ["u", SECRET]),
        ({"type": "host_scoped", "host": "example.com", "headers": {"X-Key": SECRET}}, [SECRET]),
    ],
    ids=lambda one: one.get("type", "api_key") if isinstance(one, dict) else "",
)
async def test_blocks_get_each_type(ann: User, members: dict[str, Any], secrets: list[str]) -> None:
    graph, names = await ann.create(vaults())
    response = await execute(ann, graph, await keep(ann, **members))
    assert response.status_code == 200, response.text
    seen = await ann.finished(response.json())
    found = executions(seen, names)
    for name in ("here", "apart"):
        ((status, _, output),) = found[name]
        assert (status, output) == ("COMPLETED", {"seen": [fingerprint(*secrets)]})


async def test_what_a_run_can_not_use_is_named(ann: User, bob: User) -> None:
    graph, names = await ann.create(vaults())
    mine, theirs, other = await keep(ann), await keep(bob), await keep(ann, provider="github")
    unknown = f"Unknown credentials #{theirs['id']}"
    mismatch = "Invalid credentials: type/provider mismatch"
    for given, problem in (
        (None, "These credentials are required"),
        (theirs, unknown),
        (mine | {"id": NOBODYS_ID}, f"Unknown credentials #{NOBODYS_ID}"),
        (mine | {"id": "\0"}, "Unknown credentials #\0"),
        (mine | {"type": "oauth2"}, mismatch),
        (mine | {"provider": "github"}, mismatch),
        (other, mismatch),
    ):
        response = await execute(ann, graph, given)
        assert response.status_code == 400, response.text
        detail = response.json()["detail"]
        assert detail["type"] == "validation_error"
        assert {names[one]: fields for one, fields in detail["node_errors"].items()} == {
            name: {"credentials": problem} for name in ("here", "apart")
        }
    # Nor may a graph be stored that refers to somebody else's.
    refused = await ann.http.post("/api/graphs", json={"graph": vaults(credentials=theirs).as_graph()})
    assert refused.status_code == 400
    assert "non-existent credentials" in refused.text


async def test_a_link_brings_nobody_what_is_not_theirs(ann: User, bob: User) -> None:
    theirs, other, mine = await keep(bob), await keep(ann, provider="github"), await keep(ann)
    # Each says of itself what the field wants to hear.
    for brought, problem in (
        (theirs, "not found"),
        (mine | {"id": other["id"]}, "are not for 'credentials'"),
        (mine | {"id": "\0"}, "not found"),
    ):
        for block in (VAULT, VAULT_APART):
            nodes = {"x": (STORE, {"input": brought}), "v": (block, {"credentials": mine})}
            graph, names = await ann.create(draw(nodes, "x.output -> v.credentials"))
            # The constant is what is looked at before the run; what arrives is what is used.
            run = (await execute(ann, graph, None)).json()
            ((status, _, output),) = executions(await ann.finished(run), names)["v"]
            assert (status, problem in str(output.get("error"))) == ("FAILED", True), output


async def test_credentials_that_are_gone_fail_their_node(ann: User) -> None:
    mine = await keep(ann)
    graph, names = await ann.create(draw({"v": (VAULT, {"credentials": mine})}))
    assert (await ann.http.delete(f"/api/integrations/vault/credentials/{mine['id']}")).json()["deleted"]
    refused = await ann.http.post(f"/api/graphs/{graph['id']}/execute/1", json={})
    assert refused.json()["detail"]["node_errors"] == {
        next(iter(names)): {"credentials": f"Unknown credentials #{mine['id']}"}
    }


async def test_a_secret_is_nowhere_but_where_it_is_used(ann: User, platform: Platform) -> None:
    """Everything that is written or sent while runs use it: answers, events, rows, streams, logs."""
    mine = await keep(ann)
    said: list[str] = []
    for constants in ({}, {"v": "fail"}):
        graph, _ = await ann.create(vaults(credentials=mine, **constants))
        async with ann.socket() as socket:
            await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
            run = (await execute(ann, graph, mine)).json()
            await socket.tell("subscribe_graph_execution", {"graph_exec_id": run["id"]})
            said.append(json.dumps(await socket.until_final()))
        said.append(json.dumps(await ann.finished(run)))
        for path in (f"/api/graphs/{graph['id']}", "/api/executions", "/api/integrations/credentials"):
            said.append((await ann.http.get(path)).text)
    said.append((await ann.http.get(f"/api/integrations/vault/credentials/{mine['id']}")).text)
    assert fingerprint(SECRET) in "".join(said)  # so it was used, and what was looked at is what runs say
    assert SECRET not in "".join(said)
    rows = await _everything_stored(platform)
    assert fingerprint(SECRET) in rows
    assert SECRET not in rows
    assert SECRET.encode().hex() not in rows
    assert SECRET.encode() not in await _everything_in_redis(platform)
    logs = await asyncio.to_thread(_everything_in, platform.settings.home)
    assert logs
    assert not [name for name, content in logs.items() if SECRET.encode() in content]


async def _everything_stored(platform: Platform) -> str:
    connection = await asyncpg.connect(platform.settings.database_url)
    try:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        )
        rows = []
        for table in tables:
            # Bytes are shown as they are, or as hexadecimal digits.
            for shown in ("escape", "hex"):
                await connection.execute(f"SET bytea_output = '{shown}'")
                rows += [row["t"] for row in await connection.fetch(f"SELECT t::text AS t FROM {table['name']} t")]
        return "\n".join(rows)
    finally:
        await connection.close()


async def _everything_in_redis(platform: Platform) -> bytes:
    client = Redis.from_url(platform.settings.redis_url or "")
    found = []
    try:
        async for key in client.scan_iter():
            kind = await client.type(key)
            found.append(key)
            if kind == b"stream":
                found.append(repr(await client.xrange(key)).encode())
            elif kind == b"string":
                found.append(await client.get(key) or b"")
            elif kind == b"hash":
                found.append(repr(await client.hgetall(key)).encode())
            elif kind == b"list":
                found.append(repr(await client.lrange(key, 0, -1)).encode())
    finally:
        await client.aclose()
    assert b"".join(found)
    return b"".join(found)


def _everything_in(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
