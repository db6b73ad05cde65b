"""Graphs with more runs under way than are shown, or named in a position, at once."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.realtime.test_resuming import everything
from tests.realtime.test_streams import sent_events
from tests.support.client import FINAL, User
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.drawing import SLOW, STORE, draw

# More than may run at once, so that most of them wait.
RUNS = 120
BRIEF = draw({"s": (SLOW, {"v": 1, "delay": 0.2}), "b": (STORE, {})}, "s.out -> b.input")
ENDLESS = draw({"s": (SLOW, {"v": 1, "delay": 600})})


async def started(user: User, graph: dict[str, Any], count: int = RUNS) -> list[dict[str, Any]]:
    return await asyncio.gather(*(user.start(graph) for _ in range(count)))


@pytest.mark.parametrize("snapshot", [False, True])
async def test_a_graph_with_more_than_a_hundred_runs(user: User, snapshot: bool) -> None:
    """All under way when somebody subscribes. Each shows its end, and nothing is missing before that."""
    graph, _ = await user.create(ENDLESS)
    runs = await started(user, graph)
    async with user.socket() as socket:
        target = {"graph_id": graph["id"], "seq": True, "snapshot": snapshot}
        assert (await socket.ask("subscribe_graph_executions", target))["success"]
        stopping = asyncio.gather(*(user.stop(run) for run in runs))
        snapshots: dict[str, int] = {}
        seen: dict[str, list[dict[str, Any]]] = {run["id"]: [] for run in runs}
        while not all(events and events[-1]["data"]["status"] in FINAL for events in seen.values()):
            message = await socket.next()
            if message["method"] == "snapshot":
                snapshots[message["data"]["execution"]["id"]] = message["seq"]
                if message["data"]["execution"]["status"] in FINAL:
                    seen[message["data"]["execution"]["id"]].append({**message, "data": message["data"]["execution"]})
            else:
                seen[message["data"]["id"]].append(message)
        await stopping
    assert len(snapshots) == (100 if snapshot else 0)
    for run in runs[::10]:
        every = [one for one in await everything(user, run["id"]) if one["method"] == "graph_execution_event"]
        live = [one for one in seen[run["id"]] if one["method"] == "graph_execution_event"]
        assert live == [{**one, "channel": live[0]["channel"]} for one in every[len(every) - len(live) :]]
        if run["id"] in snapshots:
            assert [one["seq"] for one in live] == [one["seq"] for one in every if one["seq"] > snapshots[run["id"]]]


async def test_the_stream_of_a_graph_with_more_than_a_hundred_runs_is_resumed(user: User) -> None:
    """Positions are told now and then only. Who resumes by one gets what follows it, and perhaps some of it again."""
    graph, _ = await user.create(BRIEF)
    path = f"/api/graphs/{graph['id']}/events"
    seen: dict[str, list[Any]] = {}
    ended: set[str] = set()
    position = None
    while len(ended) < RUNS:
        headers = {} if position is None else {"Last-Event-ID": position}
        async with user.http.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            if position is None:
                runs = await started(user, graph)
            events = sent_events(response)
            for _ in range(150):
                event = await asyncio.wait_for(anext(events), PATIENCE_SECONDS)
                position = event.get("id", position)
                seen.setdefault(event["data"]["id"], []).append(event["data"])
                if event["data"]["status"] == "COMPLETED":
                    ended.add(event["data"]["id"])
                if len(ended) == RUNS:
                    break
    for run in runs[::10]:
        every = [one["data"] for one in await everything(user, run["id"]) if one["method"] == "graph_execution_event"]
        once = [one for place, one in enumerate(seen[run["id"]]) if one not in seen[run["id"]][:place]]
        assert once == every


PLACES = 25  # of one user and graph


async def test_a_run_that_waits_for_its_turn_is_resumed(user: User) -> None:
    """It has one event, which the server has seen and not kept, since nobody wanted all events of the run."""
    graph, _ = await user.create(ENDLESS)
    async with user.socket() as other, user.socket() as socket:
        assert (await other.ask("subscribe_graph_executions", {"graph_id": graph["id"], "seq": True}))["success"]
        runs = await started(user, graph, 30)
        shown: dict[str, str] = {}
        while len(shown) < 30 or Counter(shown.values())["RUNNING"] < PLACES:
            event = (await other.next())["data"]
            shown[event["id"]] = event["status"]
        queued = {run_id: 0 for run_id, status in shown.items() if status == "QUEUED"}
        assert len(queued) == 30 - PLACES
        for method in ("subscribe_user", "subscribe_graph_executions"):
            assert (await socket.ask(method, {"graph_id": graph["id"], "last_event": queued}))["success"]
            first = [await socket.next() for _ in queued]
            assert {(one["data"]["id"], one["seq"]) for one in first} == {(run_id, 1) for run_id in queued}
        await asyncio.gather(*(user.stop(run) for run in runs))
