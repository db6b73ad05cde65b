"""Clients that ask for too much, or for nonsense: an answer or a close with a code, and everybody else is served."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from agentplat.infra.settings import Settings
from tests.realtime.test_resuming import STREAM, everything
from tests.support.client import User
from tests.support.processes import answers, environment, eventually, free_port, words


async def closed(socket: Any, seconds: float = 30) -> int | None:
    """The code that the socket is closed with."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(seconds):
            while True:
                await socket.connection.recv()
    code: int | None = socket.connection.close_code
    return code


async def still_served(user: User) -> None:
    async with user.socket() as socket:
        assert (await socket.ask("heartbeat"))["data"] == "pong"


@pytest.mark.parametrize("frame", ["x" * (1024 * 1024 + 1), b"x" * (1024 * 1024 + 1), "ä" * 600_000])
async def test_a_frame_above_a_megabyte_closes_the_socket(user: User, frame: str | bytes) -> None:
    async with user.socket() as socket:
        await socket.connection.send(frame)
        assert await closed(socket) == 1009
    await still_served(user)


async def test_a_large_frame_that_is_allowed_is_answered(user: User) -> None:
    async with user.socket() as socket:
        await socket.tell("heartbeat", "x" * 1_000_000)
        assert (await socket.next())["data"] == "pong"
        await socket.connection.send("[" * 100_000)
        assert "format" in (await socket.next())["error"]


async def test_ten_thousand_subscriptions_on_one_socket(user: User) -> None:
    """A thousand are granted; then there are error messages, or the flood has the socket closed."""
    granted = refused = 0
    async with user.socket() as socket:

        async def ask() -> None:
            with suppress(ConnectionClosed):
                for number in range(10_000):
                    await socket.tell("subscribe_graph_execution", {"graph_exec_id": f"run {number}"})

        asking = asyncio.create_task(ask())
        code = None
        try:
            while granted + refused < 10_000:
                answer = await socket.next(60)
                granted += answer["method"] != "error"
                refused += answer["method"] == "error"
        except ConnectionClosed:
            code = socket.connection.close_code
        await asking
    assert granted == 1000
    assert refused
    assert code in (None, 1008, 1013)
    await still_served(user)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"graph_exec_id": "x", "last_event": -1}, "last_event"),
        ({"graph_exec_id": "x", "last_event": "3"}, "last_event"),
        ({"graph_exec_id": "x", "seq": 1}, "seq"),
        ({"graph_exec_id": "x", "filter": {"events": ["nonsense"]}}, "filter.events"),
        ({"graph_exec_id": "x", "filter": []}, "filter"),
        ({"graph_exec_id": "x", "filter": {"nodes": ["n" * 257]}}, "filter.nodes"),
        ({"graph_exec_id": "x", "filter": {"nodes": [f"{number}" for number in range(1001)]}}, "filter.nodes"),
        ({"graph_exec_id": "x" * 257}, "graph_exec_id"),
    ],
)
async def test_an_option_of_the_wrong_form_is_named(user: User, data: dict[str, Any], field: str) -> None:
    async with user.socket() as socket:
        answer = await socket.ask("subscribe_graph_execution", data)
        assert (answer["method"], answer["success"]) == ("error", False)
        assert field in answer["error"]
        many = {f"{number}": 0 for number in range(1001)}
        assert "last_event" in (await socket.ask("subscribe_user", {"last_event": many}))["error"]
        assert "one of" in (await socket.ask("unsubscribe", {"graph_exec_id": "x", "user": True}))["error"]


async def test_all_runs_of_a_user_and_of_a_graph(user: User, base_url: str, make_token: Callable[..., str]) -> None:
    one, _ = await user.create(STREAM)
    two, _ = await user.create(STREAM)
    async with User(base_url, make_token("stranger")) as stranger, stranger.socket() as deaf, user.socket() as socket:
        assert (await deaf.ask("subscribe_user", {"seq": True}))["channel"] == "stranger|executions"
        answer = await socket.ask("subscribe_user", {"seq": True})
        assert (answer["channel"], answer["data"]) == ("watcher|executions", {"seq": None})
        runs = [await user.start(graph) for graph in (one, two)]
        events = [*await socket.until_final(), *await socket.until_final()]
        for run in runs:
            every = await everything(user, run["id"])
            assert [(event["seq"], event["data"]) for event in events if event["data"]["id"] == run["id"]] == [
                (event["seq"], event["data"]) for event in every if event["method"] == "graph_execution_event"
            ]
        # Resuming both by number, and then no more of it.
        assert (await socket.ask("unsubscribe", {"user": True}))["channel"] == "watcher|executions"
        last = {event["data"]["id"]: event["seq"] for event in events}
        resumed = {run["id"]: last[run["id"]] - 1 for run in runs}
        assert (await socket.ask("subscribe_user", {"last_event": resumed}))["success"]
        again = [*await socket.until_final(), *await socket.until_final()]
        assert {event["data"]["id"] for event in again} == set(resumed)
        refused = await deaf.ask("subscribe_user", {"last_event": resumed})
        assert "No such execution" in refused["error"]
        assert (await deaf.ask("heartbeat"))["data"] == "pong"


async def test_a_graph_with_snapshots(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    async with user.socket() as socket:
        target = {"graph_id": graph["id"], "snapshot": True}
        assert (await socket.ask("subscribe_graph_executions", target))["data"] == {"seq": None}
        snapshot, *rest = await socket.until_final()
        assert (await socket.ask("unsubscribe", {"graph_id": graph["id"]}))["success"]
    assert snapshot["method"] == "snapshot"
    assert snapshot["data"]["execution"]["id"] == run["id"]
    every = [one for one in await everything(user, run["id"]) if one["method"] == "graph_execution_event"]
    assert [one["data"] for one in rest] == [one["data"] for one in every if one["seq"] > snapshot["seq"]]


async def test_neither_tokens_nor_tickets_are_logged(
    settings: Settings, make_token: Callable[..., str], tmp_path: Any
) -> None:
    """Whatever is asked of a server that logs all it can."""
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(  # noqa: ASYNC220 - nothing else happens here meanwhile
            [sys.executable, "-m", "agentplat", "server", "--port", str(port)],
            env=environment(LOG_LEVEL="DEBUG"),
            stdout=file,
            stderr=file,
        )
    token = make_token("watcher")
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}"))
        async with User(f"http://127.0.0.1:{port}", token) as user:
            ticket = (await user.http.post("/api/ws/ticket")).json()["ticket"]
            secrets = [token, token.rpartition(".")[2], ticket]
            for query in (f"token={token}", f"ticket={ticket}", f"ticket={ticket}", "token=ey-forged-token"):
                async with connect(f"ws://127.0.0.1:{port}/ws?{query}") as connection:
                    with suppress(ConnectionClosed):  # for what it was asked with, perhaps
                        await connection.send("{")
                for path in ("/api/executions/x/events", "/nowhere"):
                    async with httpx.AsyncClient() as client:
                        await client.get(f"http://127.0.0.1:{port}{path}?{query}")
    finally:
        server.terminate()
        server.wait(20)
    text = log.read_text()
    assert text
    for secret in (*secrets, "ey-forged-token"):
        assert secret not in text


async def test_clients_that_do_not_read_cost_bounded_memory(user: User, platform: Any) -> None:
    """They ask for the same large run again and again, and read none of it."""
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    await user.finished(run)
    servers = [
        process
        for process in psutil.Process(os.getpid()).children(recursive=True)
        if any("granian" in part or part == "server" for part in words([process]))
    ]
    before = sum(process.memory_info().rss for process in servers)
    target = {"graph_exec_id": run["id"], "last_event": 0}
    async with user.socket() as socket:
        socket.connection.transport.pause_reading()
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(10):
                while True:
                    await socket.tell("subscribe_graph_execution", target)
    assert servers
    assert sum(process.memory_info().rss for process in servers) - before < 300 * 1024 * 1024
    await still_served(user)
