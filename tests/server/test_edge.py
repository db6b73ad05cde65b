"""What one wrapper around the application does to every request and response. Small things are in `test_app.py`."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from litestar import get
from msgspec.structs import replace

from agentplat.infra.db import Database, db
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import configure_logging
from agentplat.server.app import create_app
from tests.support.api import NOBODYS_ID, Api, created

TOTAL = re.compile(r"total;dur=\d+\.\d\d")
SECRET = "the password of the database is swordfish"


@get("/broken", opt={"public": True}, include_in_schema=False)
async def broken() -> None:
    raise RuntimeError(SECRET)


@get("/unencodable", opt={"public": True}, include_in_schema=False)
async def unencodable() -> dict[str, Any]:
    return {SECRET: object()}


@get("/asking", opt={"public": True}, include_in_schema=False)
async def asking() -> None:
    await db().fetchval("SELECT 1")
    async with db().transaction():
        await db().fetchval("SELECT pg_sleep(0.05)")
        await db().fetchval("SELECT 1")


@pytest.fixture
def client(db: Database, settings: Settings) -> httpx.AsyncClient:
    """Of the real application with some handlers more."""
    app = create_app(settings)
    for handler in (broken, unencodable, asking):
        app.register(handler)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://agentplat")


@pytest.mark.parametrize("path", ["/broken", "/unencodable"])
async def test_of_an_error_that_nobody_foresaw_only_its_id_goes_out(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"X-Request-Id": "r-7"})
    assert response.status_code == 500
    assert response.json().keys() == {"code", "message", "detail", "hint", "request_id"}
    assert response.json()["request_id"] == response.headers["x-request-id"] == "r-7"
    assert "swordfish" not in response.text + str(response.headers)
    assert "Error" not in response.text
    assert response.headers["cache-control"].startswith("no-store")
    assert TOTAL.fullmatch(response.headers["server-timing"])


async def test_the_log_has_the_cause_under_the_id(
    client: httpx.AsyncClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().handlers[:]
    try:
        configure_logging(replace(settings, log_format="json"))
        await client.get("/broken", headers={"X-Request-Id": "r-8"})
    finally:
        logging.getLogger().handlers[:] = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (logged,) = [line for line in lines if line["event"] == "request_failed"]
    assert logged["request_id"] == "r-8"
    assert "swordfish" in json.dumps(logged["exception"])


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/api/graphs", "/api/blocks", "/docs"])
async def test_every_answer_says_what_it_took(client: httpx.AsyncClient, path: str) -> None:
    assert TOTAL.match((await client.get(path)).headers["server-timing"])


async def test_the_time_of_the_database_is_told_apart(client: httpx.AsyncClient) -> None:
    timing = (await client.get("/asking")).headers["server-timing"]
    total, database = re.fullmatch(r'total;dur=([\d.]+), db;dur=([\d.]+);desc="2"', timing).groups()  # type: ignore[union-attr]
    assert 50 <= float(database) <= float(total)


async def test_requests_at_once_are_told_apart(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.get("/asking" if number % 2 else "/openapi.json") for number in range(10)),
    )
    assert [("db;" in answer.headers["server-timing"]) for answer in answers] == [False, True] * 5
    assert len({answer.headers["x-request-id"] for answer in answers}) == 10


async def test_what_is_no_page_may_run_nothing(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/nowhere", "/broken"):
        assert (await client.get(path)).headers["content-security-policy"].startswith("default-src 'none';")
    assert len((await client.get("/docs")).headers.get_list("content-security-policy")) == 1


async def test_methods_that_a_path_lacks_are_refused_by_naming_the_others(api: Api) -> None:
    refused = await api("ann").patch("/api/graphs")
    assert refused.status_code == 405
    assert {"GET", "POST"} <= {name.strip() for name in refused.headers["allow"].split(",")}


# --- the same answer again


async def test_who_has_the_present_answer_gets_it_not_again(api: Api) -> None:
    client = api("ann")
    graph = await created(client)
    path = f"/api/graphs/{graph['id']}"
    first = await client.get(path)
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(path, headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
        assert again.headers["x-content-type-options"] == "nosniff"
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).json() == graph
    changed = await client.put(path, json={**graph, "description": "Another"})
    assert changed.status_code == 200, changed.text
    assert (await client.get(path, headers={"If-None-Match": tag})).json()["description"] == "Another"


async def test_lists_that_are_looked_at_again_and_again_are_sent_when_they_change(api: Api) -> None:
    client = api("ann")
    graph = await created(client)

    async def run() -> None:
        started = await client.post(f"/api/graphs/{graph['id']}/execute/1", json={})
        assert started.status_code == 200, started.text

    for path, change in (
        ("/api/graphs", lambda: created(client)),
        ("/api/executions", run),
        (f"/api/graphs/{graph['id']}/executions", run),
    ):
        condition = {"If-None-Match": (await client.get(path)).headers["etag"]}
        assert (await client.get(path, headers=condition)).status_code == 304
        await change()
        assert (await client.get(path, headers=condition)).status_code == 200


async def test_what_is_no_answer_of_its_own_has_no_tag(api: Api) -> None:
    missing = await api("ann").get(f"/api/graphs/{NOBODYS_ID}", headers={"If-None-Match": "*"})
    assert missing.status_code == 404
    assert "etag" not in missing.headers


@pytest.mark.parametrize("path", ["/api/blocks", "/openapi.json"])
async def test_a_standing_answer_is_one_in_both_encodings(api: Api, path: str) -> None:
    client = api("ann")
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    zipped = await client.get(path, headers={"Accept-Encoding": "br;q=1.0, gzip;q=0.8"})
    assert plain.content == zipped.content
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < len(plain.content) / 5
    assert zipped.headers["etag"] == plain.headers["etag"][:-1] + '-gzip"'
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    for tag in (plain.headers["etag"], zipped.headers["etag"]):
        assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 304
    refused = await client.get(path, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


async def test_a_standing_answer_still_needs_a_token(api: Api) -> None:
    assert (await api().get("/api/blocks", headers={"If-None-Match": "*"})).status_code == 401


# --- clients that are slow to say what they want


def posted(make_token: Callable[..., str], length: tuple[bytes, bytes]) -> dict[str, Any]:
    """A request whose body a test hands in."""
    headers = [(b"authorization", f"Bearer {make_token('ann')}".encode()), length]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/api/graphs"}
    scope |= {"raw_path": b"/api/graphs", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}
    return {**scope, "state": {}, "asgi": {"version": "3.0"}}


async def send(app: Any, make_token: Callable[..., str], chunks: list[bytes], pause: float) -> tuple[int, float]:
    """The status of a POST whose body comes in `chunks` with pauses between them and never ends, and the seconds."""
    left = list(chunks)
    answered: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(pause if left else 3600)
        return {"type": "http.request", "body": left.pop(0), "more_body": True}

    async def sending(message: Any) -> None:
        answered.append(message)

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(20):
        await app(posted(make_token, (b"transfer-encoding", b"chunked")), receive, sending)
    assert json.loads(answered[1]["body"])["code"] == "request_timeout"
    return answered[0]["status"], loop.time() - began


async def test_a_body_that_does_not_come_is_not_waited_for(
    db: Database, settings: Settings, make_token: Callable[..., str]
) -> None:
    app = create_app(replace(settings, request_seconds=0.3))
    assert (await send(app, make_token, [], 0))[0] == 408
    # A byte now and then gains nothing: all of them would come for minutes.
    assert (await send(app, make_token, [b"x"] * 10_000, 0.02))[0] == 408


async def test_what_comes_of_a_body_after_its_answer_is_taken_until_it_ends(
    db: Database, settings: Settings, make_token: Callable[..., str]
) -> None:
    app = create_app(settings)
    left, answered = [True] * 5 + [False], []

    async def receive() -> Any:
        assert answered, "it was refused for its length"
        return {"type": "http.request", "body": b"x" * 1000, "more_body": left.pop(0)}

    async def sending(message: Any) -> None:
        answered.append(message)

    await app(posted(make_token, (b"content-length", b"999999999")), receive, sending)
    assert answered[0]["status"] == 413
    assert left == []


async def test_an_endless_rest_of_a_body_is_given_up(
    db: Database, settings: Settings, make_token: Callable[..., str]
) -> None:
    app, answered = create_app(replace(settings, request_seconds=0.3)), []

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def sending(message: Any) -> None:
        answered.append(message)

    async with asyncio.timeout(20):
        await app(posted(make_token, (b"content-length", b"999999999")), receive, sending)
    assert [message.get("status") for message in answered] == [413, None]


async def test_a_large_body_may_take_longer(db: Database, settings: Settings, make_token: Callable[..., str]) -> None:
    app = create_app(replace(settings, request_seconds=0.3))
    status, seconds = await send(app, make_token, [b"x" * 5_000, b"x" * 5_000], 0.0)
    assert status == 408
    assert seconds >= 1.3
