"""Events over plain HTTP, and the ways to say who one is."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from agentplat.cli.supervisor import Platform
from agentplat.realtime.frames import Chunk, Event
from agentplat.realtime.hub import Hub
from agentplat.realtime.models import ChannelKey
from agentplat.realtime.stream import EventStream
from tests.cli.test_metrics import value
from tests.realtime.test_resuming import STREAM, everything
from tests.support.client import FINAL, Socket, User
from tests.support.conditions import PATIENCE_SECONDS, until
from tests.support.drawing import SLOW, STORE, draw

LONG = draw({"s": (SLOW, {"v": 1, "delay": 1.5}), "b": (STORE, {})}, "s.out -> b.input")


async def sent_events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    one: dict[str, Any] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line:
            one[name or "comment"] = json.loads(value) if name == "data" else value
        else:
            yield one
            one = {}


async def read(user: User, path: str, **headers: str) -> list[dict[str, Any]]:
    """All events up to the end of the stream."""
    async with user.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event async for event in sent_events(response) if "data" in event]


def as_streamed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": str(one["seq"]), "event": one["method"], "data": one["data"]} for one in messages]


async def test_a_run_from_its_beginning_to_its_end(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    live = await read(user, f"/api/executions/{run['id']}/events")
    assert live == as_streamed(await everything(user, run["id"]))


async def test_resuming_by_the_last_id(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    await user.finished(run)
    every = as_streamed(await everything(user, run["id"]))
    path = f"/api/executions/{run['id']}/events"
    assert await read(user, path, **{"Last-Event-ID": "7"}) == every[7:]
    assert await read(user, f"{path}?last_event=7") == every[7:]
    over = await user.http.get(path, headers={"Last-Event-ID": str(len(every))})
    assert over.status_code == 204
    for position in (str(len(every) + 1), "x", "-1", "٣"):
        refused = await user.http.get(path, params={"last_event": position})
        assert refused.status_code == 400, position


async def test_filters_and_snapshots(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    await user.finished(run)
    every = as_streamed(await everything(user, run["id"]))
    path = f"/api/executions/{run['id']}/events"
    node = next(one["data"]["node_id"] for one in every if "node_id" in one["data"])
    assert await read(user, f"{path}?events=graph_execution_event") == [
        one for one in every if one["event"] == "graph_execution_event"
    ]
    assert await read(user, f"{path}?events=node_execution_event&nodes={node}") == [
        one for one in every if one["data"].get("node_id") == node
    ]
    (snapshot,) = await read(user, f"{path}?snapshot=true")
    assert (snapshot["event"], snapshot["id"]) == ("snapshot", str(len(every)))
    assert snapshot["data"]["execution"] == every[-1]["data"]
    assert (await user.http.get(f"{path}?events=nonsense")).status_code in (400, 422)


async def test_unknown_and_foreign_are_alike(user: User, base_url: str, make_token: Callable[..., str]) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    async with User(base_url, make_token("stranger")) as stranger:
        for mine, path in ((run["id"], "/api/executions/{}/events"), (graph["id"], "/api/graphs/{}/events")):
            answers = [await stranger.http.get(path.format(one)) for one in (mine, str(uuid4()))]
            assert [answer.status_code for answer in answers] == [404, 404]
            assert answers[0].text.replace(mine, "") == answers[1].text.replace(str(answers[1].url).split("/")[-2], "")
    async with httpx.AsyncClient(base_url=base_url) as nobody:
        assert (await nobody.get(f"/api/executions/{run['id']}/events")).status_code == 401


async def test_a_graph_resumed_by_position_misses_nothing(user: User) -> None:
    """Runs go on and begin while nobody listens."""
    graph, _ = await user.create(STREAM)
    path = f"/api/graphs/{graph['id']}/events"
    seen: list[dict[str, Any]] = []
    started = []
    for _ in range(4):
        headers = {"Last-Event-ID": seen[-1]["id"]} if seen else {}
        async with user.http.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            started.append(await user.start(graph))
            events = sent_events(response)
            for _ in range(5):
                seen.append(await asyncio.wait_for(anext(events), PATIENCE_SECONDS))
        started.append(await user.start(graph))
        _ = await user.finished(started[0])
    for run in started:
        await user.finished(run)
    async with user.http.stream("GET", path, headers={"Last-Event-ID": seen[-1]["id"]}) as response:
        events = sent_events(response)
        ended = {one["data"]["id"] for one in seen if one["data"]["status"] in FINAL}
        while len(ended) < len(started):
            seen.append(await asyncio.wait_for(anext(events), PATIENCE_SECONDS))
            if seen[-1]["data"]["status"] in FINAL:
                ended.add(seen[-1]["data"]["id"])
    for run in started:
        every = [one["data"] for one in await everything(user, run["id"]) if one["method"] == "graph_execution_event"]
        assert [one["data"] for one in seen if one["data"]["id"] == run["id"]] == every


@pytest.mark.parametrize(
    "position", ["x", "٣", {"since": "2026-01-01T00:00:00", "runs": {}}, {"since": 5, "runs": []}, []]
)
async def test_a_position_that_is_none_is_refused(user: User, position: Any) -> None:
    graph, _ = await user.create(STREAM)
    text = position if isinstance(position, str) else urlsafe_b64encode(json.dumps(position).encode()).decode()
    refused = await user.http.get(f"/api/graphs/{graph['id']}/events", params={"last_event": text})
    assert (refused.status_code, refused.json()["code"]) == (400, "position_invalid")


async def test_a_silent_stream_is_kept_alive() -> None:
    """A proxy between takes silence for death. Comments go out while nothing happens, and no event is lost to them."""
    stream = EventStream(Hub(), "ann", keep_alive=0.05)
    pieces = aiter(stream)
    key = ChannelKey("ann", "run", "r")
    assert [await anext(pieces) for _ in range(2)] == [": keep-alive\n\n"] * 2
    for number in (1, 2):
        stream.offer(Chunk(key, "r", number - 1, [Event(number, None, "{}", 2)], number, final=number == 2), True)
        assert await anext(pieces) == f"id: {number}\nevent: graph_execution_event\ndata: {{}}\n\n"
        if number == 1:
            assert await anext(pieces) == ": keep-alive\n\n"
    assert [piece async for piece in pieces] == []
    await stream.close()


async def sockets(user: User) -> float:
    """How many sockets and streams the server has open."""
    return value((await user.http.get("/metrics")).text, "agentplat_sockets")


async def test_a_stream_whose_client_has_left_is_closed(user: User) -> None:
    """Nothing happens on the stream: that the client has gone is noticed nevertheless."""
    graph, _ = await user.create(LONG)

    async def are_open(count: int) -> bool:
        return await sockets(user) == count

    await until(partial(are_open, 0))  # nor those of the tests before
    async with user.http.stream("GET", f"/api/graphs/{graph['id']}/events") as response:
        assert response.status_code == 200
        await until(partial(are_open, 1))
    await until(partial(are_open, 0))


async def ticket(user: User) -> str:
    response = await user.http.post("/api/ws/ticket")
    assert response.status_code == 200
    assert response.json()["expires_in"] == 30
    issued: str = response.json()["ticket"]
    return issued


async def test_a_ticket_expires(user: User, ws_url: str, platform: Platform) -> None:
    """Redis forgets it by itself after 30 seconds. The test moves that moment, and does not wait for it."""
    async with Redis.from_url(str(platform.settings.redis_url)) as redis:
        before = {key async for key in redis.scan_iter("*:ticket:*")}
        issued = await ticket(user)
        (key,) = {key async for key in redis.scan_iter("*:ticket:*")} - before
        assert 0 < await redis.pttl(key) <= 30_000
        assert await redis.pexpire(key, 1)

        async def is_gone() -> bool:
            return not await redis.exists(key)

        await until(is_gone)
    assert await close_code(f"{ws_url}?ticket={issued}") == 4003
    async with httpx.AsyncClient(base_url=user.url) as browser:
        assert (await browser.get("/api/executions/x/events", params={"ticket": issued})).status_code == 401


async def close_code(address: str, **options: Any) -> int | None:
    async with connect(address, **options) as connection:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), PATIENCE_SECONDS)
        return connection.close_code


async def test_a_ticket_opens_one_socket_of_its_user(user: User, ws_url: str) -> None:
    issued = await ticket(user)
    async with connect(f"{ws_url}?ticket={issued}") as connection:
        answer = await Socket(connection).ask("subscribe_user", {})
        assert answer["channel"] == "watcher|executions"
    assert await close_code(f"{ws_url}?ticket={issued}") == 4003
    assert await close_code(f"{ws_url}?ticket=made-up") == 4003


async def test_a_ticket_opens_one_event_stream(user: User, base_url: str, make_token: Callable[..., str]) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    path = f"/api/executions/{run['id']}/events"
    async with User(base_url, make_token("stranger")) as stranger:
        foreign = await ticket(stranger)
    issued = await ticket(user)
    async with httpx.AsyncClient(base_url=base_url) as browser:
        assert (await browser.get(path, params={"ticket": foreign})).status_code == 404
        assert (await browser.get(path, params={"ticket": issued})).status_code == 200
        assert (await browser.get(path, params={"ticket": issued})).status_code == 401
        assert (await browser.get("/api/executions", params={"ticket": await ticket(user)})).status_code == 401


async def test_a_token_in_the_protocol_header(user: User, ws_url: str) -> None:
    async with connect(ws_url, subprotocols=["agentplat", f"bearer.{user.token}"]) as connection:
        assert connection.subprotocol == "agentplat"
        assert (await Socket(connection).ask("heartbeat"))["data"] == "pong"
    assert await close_code(ws_url, subprotocols=["agentplat", "bearer.nonsense"]) == 4003
    assert await close_code(ws_url, subprotocols=["agentplat"]) == 4001
