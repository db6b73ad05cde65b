"""The event socket as its clients see it: real server, real socket."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from agentplat.cli.supervisor import Platform
from tests.support.client import FINAL, User
from tests.support.conditions import PATIENCE_SECONDS, until
from tests.support.drawing import GATE, INPUT, OUTPUT, SLOW, SPILL, STEP, STORE, draw
from tests.support.gates import Gate

SLOW_RUN = draw({"s": (SLOW, {"v": 1, "delay": 0.3}), "b": (STORE, {})}, "s.out -> b.input")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 4001),
        ("?token=", 4001),
        ("?token=nonsense", 4003),
        ("?token={no_subject}", 4002),
        ("?token={expired}", 4003),
        ("?token={foreign}", 4003),
    ],
)
async def test_who_has_no_good_token_sees_a_close_code(
    query: str, code: int, ws_url: str, make_token: Callable[..., str]
) -> None:
    address = ws_url + query.format(
        no_subject=make_token(""), expired=make_token("u", exp=1), foreign=make_token("u", aud="somebody else")
    )
    async with connect(address) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
        assert socket.close_code == code


async def test_heartbeat(user: User) -> None:
    async with user.socket() as socket:
        assert await socket.ask("heartbeat", "ping") == {"method": "heartbeat", "data": "pong", "success": True}


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ("not json", "format"),
        ("[]", "format"),
        ("{}", "format"),
        ('{"method": "no such method"}', "format"),
        ('{"method": "unsubscribe"}', "data missing"),
        ('{"method": "subscribe_graph_execution", "data": {}}', "data missing"),
        ('{"method": "subscribe_graph_execution", "data": null}', "data missing"),
        ('{"method": "subscribe_graph_execution", "data": {"graph_id": "x"}}', "data invalid"),
        ('{"method": "subscribe_graph_executions", "data": {"graph_id": 5}}', "data invalid"),
        ('{"method": "subscribe_graph_executions", "data": "x"}', "data invalid"),
        ('{"method": "notification", "data": {}}', "not handled"),
        ('{"method": "node_execution_event"}', "not handled"),
        (b"\x00\xff", "format"),
    ],
)
async def test_bad_frames_are_answered_and_the_socket_stays(user: User, frame: str | bytes, problem: str) -> None:
    async with user.socket() as socket:
        await socket.connection.send(frame)
        answer = await socket.next()
        assert set(answer) == {"method", "data", "success", "channel", "error"}
        assert (answer["method"], answer["success"]) == ("error", False)
        assert problem in answer["error"]
        assert (await socket.ask("heartbeat"))["data"] == "pong"


async def test_a_clients_error_is_not_answered(user: User) -> None:
    async with user.socket() as socket:
        await socket.connection.send(json.dumps({"method": "error", "error": "mine"}))
        assert (await socket.ask("heartbeat"))["data"] == "pong"


async def test_subscribing_twice_is_subscribing_once(user: User) -> None:
    graph, _ = await user.create(SLOW_RUN)
    async with user.socket() as socket:
        first = await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        assert await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]}) == first
        await user.start(graph)
        statuses = [event["data"]["status"] for event in await socket.until_final()]
    assert statuses == ["QUEUED", "RUNNING", "RUNNING", "RUNNING", "COMPLETED"]


async def test_unsubscribing_ends_the_events(user: User) -> None:
    graph, _ = await user.create(SLOW_RUN)
    async with user.socket() as socket:
        run = await user.start(graph)
        target = {"graph_exec_id": run["id"]}
        channel = f"watcher|graph_exec#{run['id']}"
        assert (await socket.ask("unsubscribe", target))["channel"] is None
        assert (await socket.ask("subscribe_graph_execution", target))["channel"] == channel
        await socket.connection.send(json.dumps({"method": "unsubscribe", "data": target}))
        while (answer := await socket.next())["method"] != "unsubscribe":
            pass
        assert answer["channel"] == channel
        await user.finished(run)
        assert (await socket.ask("heartbeat"))["data"] == "pong"


async def test_events_go_to_their_owner_alone(user: User, base_url: str, make_token: Callable[..., str]) -> None:
    """A stranger subscribes to everything that can be named, gets the same answers, and no event."""
    graph, _ = await user.create(SLOW_RUN)
    async with User(base_url, make_token("stranger")) as stranger, stranger.socket() as deaf, user.socket() as socket:
        await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        answer = await deaf.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        assert (answer["success"], answer["channel"]) == (True, f"stranger|graph#{graph['id']}|executions")
        run = await user.start(graph)
        assert (await deaf.ask("subscribe_graph_execution", {"graph_exec_id": run["id"]}))["success"] is True
        await socket.until_final()
        assert (await deaf.ask("heartbeat"))["data"] == "pong"


async def test_several_clients_see_the_same(user: User) -> None:
    drawing = draw({"p": (SPILL, {"count": 20, "delay": 0.01}), "b": (STORE, {})}, "p.n -> b.input")
    graph, _ = await user.create(drawing)
    async with user.socket() as one, user.socket() as two, user.socket() as three:
        sockets = [one, two, three]
        for socket in sockets:
            await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        await user.start(graph)
        first, second, third = await asyncio.gather(*(socket.until_final() for socket in sockets))
    assert first == second == third


async def test_node_events_show_growing_outputs_in_order(user: User, gate: Gate) -> None:
    drawing = draw(
        {"w": (GATE, {"v": 1, "path": gate.path}), "p": (SPILL, {"delay": 0}), "b": (STORE, {})},
        "w.out -> p.count",
        "p.n -> b.input",
    )
    graph, _ = await user.create(drawing)
    async with user.socket() as socket:
        run = await user.start(graph)
        await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"]})
        gate.open()
        events = await socket.until_final()
    last = events[-1]["data"]
    assert last["status"] in FINAL
    assert last["stats"]["node_exec_count"] == 3
    seen: dict[str, list[str]] = {}
    for event in events:
        if event["method"] == "node_execution_event":
            seen.setdefault(event["data"]["block_id"], []).append(event["data"]["status"])
    assert seen[SPILL] == ["INCOMPLETE", "QUEUED", "RUNNING", "RUNNING", "COMPLETED"]
    assert seen[STORE] == ["INCOMPLETE", "QUEUED", "RUNNING", "RUNNING", "COMPLETED"]


async def test_a_long_run_shows_its_figures_without_drowning_the_client(user: User, gate: Gate) -> None:
    """2,000 executions: every node event arrives, run events don't grow with the square."""
    drawing = draw(
        {
            "w": (GATE, {"v": list(range(1000)), "path": gate.path}),
            "st": (STEP, {}),
            "b": (STORE, {}),
            "c": (STORE, {}),
        },
        "w.out -> st.items",
        "st.item -> b.input",
        "b.output -> c.input",
    )
    graph, _ = await user.create(drawing)
    async with user.socket() as socket:
        run = await user.start(graph)
        await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"]})
        gate.open()
        events = await socket.until_final()
    completed = [event for event in events if event["data"].get("node_id") and event["data"]["status"] == "COMPLETED"]
    assert len(completed) == 2002
    figures = [event for event in events if event["method"] == "graph_execution_event"]
    assert len(figures) < 1000
    assert figures[-1]["data"]["stats"]["node_exec_count"] == 2002


async def test_the_end_of_a_run_that_can_not_be_driven_is_shown(user: User, platform: Platform) -> None:
    """Its graph uses a block that nobody has; the sweep takes it and can only end it."""
    graph, _ = await user.create(SLOW_RUN)
    broken = "11111111-1111-4111-8111-111111111111"
    connection = await asyncpg.connect(platform.settings.database_url)
    async with user.socket() as socket:
        await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        await connection.execute(
            """
            INSERT INTO graph_versions (id, version, user_id, name, description, is_active, body)
            SELECT id, 2, user_id, name, description, false, replace(encode(body, 'escape'), $2, $3)::bytea
            FROM graph_versions WHERE id = $1
            """,
            graph["id"],
            SLOW,
            broken,
        )
        await connection.execute(
            """
            INSERT INTO runs (id, user_id, graph_id, graph_version, root_id, status, request, created_at, deadline)
            VALUES ($2, 'watcher', $1, 2, $2, 'QUEUED',
                '{"shown": {}, "credential_inputs": {}, "nodes_input_masks": {}}',
                now() - interval '1 minute', now() + interval '1 hour')
            """,
            graph["id"],
            str(uuid4()),
        )
        (event,) = await socket.until_final()
    await connection.close()
    assert event["data"]["status"] == "FAILED"
    assert broken in event["data"]["stats"]["error"]


async def test_a_client_that_does_not_read_is_closed_and_nobody_else_notices(user: User, gate: Gate) -> None:
    drawing = draw(
        {"w": (GATE, {"v": "x" * 500_000, "path": gate.path}), **{f"n{n}": (STORE, {}) for n in range(40)}},
        "w.out -> n0.input",
        *(f"n{n}.output -> n{n + 1}.input" for n in range(39)),
    )
    graph, _ = await user.create(drawing)
    async with user.socket() as deaf, user.socket() as quick:
        await quick.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        run = await user.start(graph)
        await deaf.ask("subscribe_graph_execution", {"graph_exec_id": run["id"]})
        gate.open()
        assert (await quick.until_final())[-1]["data"]["status"] == "COMPLETED"
        with suppress(ConnectionClosed):
            async for _ in deaf.connection:
                pass  # what had been sent before
        assert deaf.connection.close_code == 1013


RUN_MEMBERS = {
    *("event_type", "id", "user_id", "graph_id", "graph_version", "preset_id", "status", "started_at", "ended_at"),
    *("is_shared", "share_token", "inputs", "credential_inputs", "nodes_input_masks", "stats", "outputs"),
}
NODE_MEMBERS = {
    *("event_type", "user_id", "graph_id", "graph_version", "graph_exec_id", "node_exec_id", "node_id", "block_id"),
    *("status", "input_data", "output_data", "add_time", "queue_time", "start_time", "end_time"),
}
ENVELOPE = {"method", "data", "success", "channel", "error"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def test_the_events_of_a_passthrough_are_the_contracts(user: User) -> None:
    """Which ones, in which order, with which members; each on every channel of those that are subscribed to."""
    drawing = draw({"in": (INPUT, {"name": "x"}), "out": (OUTPUT, {"name": "y"})}, "in.result -> out.value")
    graph, names = await user.create(drawing)
    async with user.socket() as socket:
        assert set(await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})) == ENVELOPE
        run = await user.start(graph, {"x": 5})
        of_graph = await socket.until_final()
        # Numbered, so that what has happened already comes as well, in the same form.
        ack = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"], "last_event": 0})
        assert set(ack) == ENVELOPE
        events = await socket.until_final()
    assert [(names.get(one["data"].get("node_id"), "run"), one["data"]["status"]) for one in events] == [
        ("run", "QUEUED"),
        ("run", "RUNNING"),
        *(("in", status) for status in ("RUNNING", "RUNNING", "COMPLETED")),
        ("run", "RUNNING"),
        *(("out", status) for status in ("INCOMPLETE", "QUEUED", "RUNNING", "RUNNING", "RUNNING", "COMPLETED")),
        ("run", "RUNNING"),
        ("run", "COMPLETED"),
    ]
    for one in events:
        of_node = one["method"] == "node_execution_event"
        assert set(one["data"]) == (NODE_MEMBERS if of_node else RUN_MEMBERS)
        assert one["data"]["event_type"] == ("node_execution_update" if of_node else "graph_execution_update")
        times = [one["data"][name] for name in one["data"] if name.endswith(("_time", "_at"))]
        assert all(TIME.fullmatch(time) for time in times if time is not None)
    shown = [one["data"] for one in events if one["method"] == "graph_execution_event"]
    assert of_graph == [
        {
            "method": "graph_execution_event",
            "data": data,
            "success": None,
            "channel": f"watcher|graph#{graph['id']}|executions",
            "error": None,
        }
        for data in shown
    ]


async def test_a_socket_with_both_channels_of_a_run_gets_its_events_twice(user: User) -> None:
    graph, _ = await user.create(draw({"s": (SLOW, {"v": 1, "delay": 600})}))
    async with user.socket() as socket:
        run = await user.start(graph)

        async def is_at_its_node() -> bool:
            return [one["status"] for one in (await user.look(run))["node_executions"]] == ["RUNNING"]

        await until(is_at_its_node)
        channels = [
            (await socket.ask(method, data))["channel"]
            for method, data in (
                ("subscribe_graph_executions", {"graph_id": graph["id"]}),
                ("subscribe_graph_execution", {"graph_exec_id": run["id"]}),
            )
        ]
        await user.stop(run)
        ends = [(await socket.until_final())[-1] for _ in channels]
    assert sorted(one["channel"] for one in ends) == sorted(channels)
    assert ends[0]["data"] == ends[1]["data"]


async def test_unsubscribing_names_the_channel_while_somebody_is_subscribed(user: User, make_token: Any) -> None:
    """As long as any socket of the user is, as the contract has it; which need not be the one that asks."""
    run_id = str(uuid4())
    target = {"graph_exec_id": run_id}
    channel = f"watcher|graph_exec#{run_id}"
    async with user.socket() as one, user.socket() as other, User(user.url, make_token("stranger")) as stranger:
        assert (await one.ask("subscribe_graph_execution", target))["channel"] == channel
        assert (await other.ask("unsubscribe", target))["channel"] == channel
        async with stranger.socket() as foreign:
            assert (await foreign.ask("unsubscribe", target))["channel"] is None
        assert (await one.ask("unsubscribe", target))["channel"] == channel
        assert (await one.ask("unsubscribe", target))["channel"] is None
