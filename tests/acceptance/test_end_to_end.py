"""The acceptance examples through API, database, queue, worker and back."""

import pytest

from tests.acceptance.example import Example
from tests.acceptance.examples import EXAMPLES
from tests.support.client import User, executions

# Masks have no place in the API's body; the bare engine's tests cover those examples.
SENDABLE = [example for example in EXAMPLES if not example.masks]


@pytest.mark.parametrize("example", SENDABLE, ids=lambda example: example.name)
async def test_example(example: Example, user: User) -> None:
    graph, names = await user.create(example.drawing)
    seen = await user.finished(await user.start(graph, example.inputs))

    assert seen["status"] == "COMPLETED"
    assert seen["stats"]["error"] is None
    assert seen["stats"]["node_exec_count"] == example.count
    assert seen["stats"]["node_error_count"] == example.errors
    nodes = executions(seen, names)
    for name, expected in example.nodes.items():
        assert nodes.get(name, []) == expected, name
    if not example.partial:
        assert set(nodes) == set(example.nodes)
    if example.outputs or not example.partial:
        assert seen["outputs"] == example.outputs


async def test_the_later_activation_ends_first_and_still_comes_second(user: User) -> None:
    example = next(one for one in EXAMPLES if one.name.startswith("A6"))
    graph, names = await user.create(example.drawing)
    seen = await user.finished(await user.start(graph))
    by_name: dict[str, list[dict[str, str]]] = {}
    for one in seen["node_executions"]:
        by_name.setdefault(names[one["node_id"]], []).append(one)
    slow, quick = by_name["s"]
    assert slow["input_data"]["delay"] == 0.8
    assert quick["end_time"] < slow["end_time"]
    assert all(one["queue_time"] > quick["end_time"] for one in by_name["z"])


async def test_passthrough_events(user: User) -> None:
    """A1's exact sequence, as a client on both channels gets it."""
    example = EXAMPLES[0]
    graph, _ = await user.create(example.drawing)
    async with user.socket() as socket:
        answer = await socket.ask("subscribe_graph_executions", {"graph_id": graph["id"]})
        assert answer["success"] is True
        run = await user.start(graph, example.inputs)
        graph_events = await socket.until_final()
    assert {event["channel"] for event in graph_events} == {f"acceptance|graph#{graph['id']}|executions"}
    assert [event["data"]["status"] for event in graph_events] == [
        "QUEUED",
        "RUNNING",
        "RUNNING",
        "RUNNING",
        "COMPLETED",
    ]
    assert graph_events[-1]["data"]["outputs"] == {"r": ["hi"]}
    assert graph_events[-1]["data"]["id"] == run["id"]


async def test_node_events_of_a_run_in_the_making(user: User) -> None:
    """The slow node gives time to subscribe; from then on every change arrives, in order."""
    example = next(one for one in EXAMPLES if one.name.startswith("A6"))
    graph, names = await user.create(example.drawing)
    async with user.socket() as socket:
        run = await user.start(graph)
        answer = await socket.ask("subscribe_graph_execution", {"graph_exec_id": run["id"]})
        assert answer == {
            "method": "subscribe_graph_execution",
            "success": True,
            "channel": f"acceptance|graph_exec#{run['id']}",
            "data": None,
            "error": None,
        }
        events = [event["data"] for event in await socket.until_final() if event["data"].get("node_id") in names]
    z = [(event["status"], event["output_data"]) for event in events if names[event["node_id"]] == "z"]
    one = [("INCOMPLETE", {}), ("QUEUED", {}), ("RUNNING", {}), ("RUNNING", {"output": ["k"]})]
    one.append(("COMPLETED", {"output": ["k"]}))
    assert sorted(map(repr, z)) == sorted(map(repr, one * 2))
