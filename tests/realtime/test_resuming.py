"""Numbers, resumption, snapshots, frames of several messages and filters: what a client opts into."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.support.client import FINAL, Socket, User
from tests.support.conditions import until
from tests.support.drawing import GATE, SPILL, STORE, draw
from tests.support.gates import Gate

STREAM = draw({"p": (SPILL, {"count": 12, "delay": 0.02}), "b": (STORE, {})}, "p.n -> b.input")
NUMBERED = {"graph_execution_event", "node_execution_event"}


async def watch(socket: Socket, run_id: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The acknowledgement, and all messages that follow up to the run's last event."""
    ack = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run_id, **options})
    assert ack["success"], ack
    return ack, await socket.until_final()


async def everything(user: User, run_id: str) -> list[dict[str, Any]]:
    async with user.socket() as socket:
        return (await watch(socket, run_id, last_event=0))[1]


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages]


async def test_a_run_that_is_over_is_replayed_from_any_event(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    await user.finished(run)
    every = await everything(user, run["id"])
    assert numbers(every) == list(range(1, len(every) + 1))
    assert (every[0]["data"]["status"], every[-1]["data"]["status"]) == ("QUEUED", "COMPLETED")
    for number in range(1, len(every)):
        async with user.socket() as socket:
            ack, rest = await watch(socket, run["id"], last_event=number)
        assert ack["data"] == {"seq": len(every)}
        assert rest == every[number:]


async def test_what_is_seen_live_is_what_is_replayed(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    async with user.socket() as socket:
        _, live = await watch(socket, run["id"], last_event=0)
    assert live == await everything(user, run["id"])


async def test_resuming_while_the_run_goes_on_leaves_no_hole_and_repeats_nothing(user: User) -> None:
    """Many clients, each of which drops its connection again and again while events come."""
    drawing = draw({"p": (SPILL, {"count": 150, "delay": 0.01}), "b": (STORE, {})}, "p.n -> b.input")
    graph, _ = await user.create(drawing)
    run = await user.start(graph)

    async def restless(patience: int) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["data"]["status"] not in FINAL or "node_id" in seen[-1]["data"]:
            async with user.socket() as socket:
                last = seen[-1]["seq"] if seen else 0
                ack = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"], "last_event": last})
                assert ack["success"], ack
                for _ in range(patience):
                    seen.append(await socket.next())
                    if seen[-1]["method"] == "graph_execution_event" and seen[-1]["data"]["status"] in FINAL:
                        break
        return seen

    watchers = await asyncio.gather(*(restless(patience) for patience in range(20, 70, 5)))
    every = await everything(user, run["id"])
    assert numbers(every) == list(range(1, len(every) + 1))
    for seen in watchers:
        assert seen == every


async def test_a_snapshot_and_what_follows_it_are_the_whole(user: User, gate: Gate) -> None:
    nodes = {"g": (GATE, {"path": gate.path, "v": 12}), "p": (SPILL, {}), "b": (STORE, {}), "a": (STORE, {"input": 1})}
    graph, _ = await user.create(draw(nodes, "g.out -> p.count", "p.n -> b.input"))
    run = await user.start(graph)

    async def is_under_way() -> bool:
        return len((await user.look(run))["node_executions"]) > 1

    await until(is_under_way)
    async with user.socket() as socket:
        ack = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"], "snapshot": True})
        assert ack["success"], ack
        gate.open()
        snapshot, *deltas = await socket.until_final()
    number = ack["data"]["seq"]
    assert (snapshot["method"], snapshot["seq"], snapshot["success"]) == ("snapshot", number, True)
    every = await everything(user, run["id"])
    assert deltas == every[number:]
    assert len(deltas) < len(every)
    latest = {one["data"]["node_exec_id"]: one["data"] for one in every[:number] if "node" in one["method"]}
    shown = {one["node_exec_id"]: one for one in snapshot["data"]["nodes"]}
    assert {name: latest[name] for name in latest} == {
        name: {**shown[name], "event_type": "node_execution_update"} for name in latest
    }


async def test_the_snapshot_of_a_run_that_is_over(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    final = await user.finished(run)
    every = await everything(user, run["id"])
    async with user.socket() as socket:
        ack = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"], "snapshot": True})
        snapshot = await socket.next()
    assert (ack["data"]["seq"], snapshot["seq"]) == (len(every), len(every))
    assert snapshot["data"]["execution"] == every[-1]["data"]
    assert len(snapshot["data"]["nodes"]) == len(final["node_executions"])


async def test_frames_of_several_messages_hold_the_same_messages(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    await user.finished(run)
    async with user.socket() as socket:
        _, batched = await watch(socket, run["id"], last_event=0, batch=True)
        assert max(socket.frames) > 1
    assert batched == await everything(user, run["id"])


async def test_a_filter_leaves_events_out_and_keeps_their_numbers(user: User) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    await user.finished(run)
    every = await everything(user, run["id"])
    node = next(one["data"]["node_id"] for one in every if "node" in one["method"])
    async with user.socket() as socket:
        _, runs = await watch(socket, run["id"], last_event=0, filter={"events": ["graph_execution_event"]})
    async with user.socket() as socket:
        _, of_node = await watch(socket, run["id"], last_event=0, filter={"nodes": [node]})
    assert runs == [one for one in every if one["method"] == "graph_execution_event"]
    assert of_node == [one for one in every if one["data"].get("node_id", node) == node]


@pytest.mark.parametrize("options", [{"last_event": 0}, {"snapshot": True}, {"last_event": 3, "seq": True}])
async def test_an_unknown_run_and_a_foreign_one_are_refused_alike(
    user: User, options: dict[str, Any], base_url: str, make_token: Any
) -> None:
    graph, _ = await user.create(STREAM)
    run = await user.start(graph)
    async with User(base_url, make_token("stranger")) as stranger, stranger.socket() as socket:
        answers = [
            await socket.ask("subscribe_graph_execution", {"graph_exec_id": run_id, **options})
            for run_id in (run["id"], str(uuid4()), "x", "\x00")
        ]
        await user.finished(run)
        assert (await socket.ask("heartbeat"))["data"] == "pong"
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["method"], answers[0]["success"]) == ("error", False)
    assert "No such execution" in answers[0]["error"]


async def test_a_number_that_no_event_has_yet_is_refused(user: User, gate: Gate) -> None:
    graph, _ = await user.create(draw({"g": (GATE, {"path": gate.path})}))
    run = await user.start(graph)
    async with user.socket() as socket:
        answer = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"], "last_event": 500})
        assert answer["method"] == "error"
        assert "last_event" in answer["error"]
        ack = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"], "seq": True})
        assert ack["data"]["seq"] > 0
        gate.open()
        assert (await socket.until_final())[-1]["data"]["status"] == "COMPLETED"
