"""Every place of a graph with every kind of value that does not belong there: it is refused, or stored and shown."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api, echo_graph
from tests.support.blocks import NestedBlock

VALUES = ["\0", "x" * 5000, "../..", -1, 2**31, 2**70, 1e308, True, None, [[]], {"a": {"b": [1]}}]


def graph() -> dict[str, Any]:
    whole = echo_graph(id="x", version=2, is_active=True, sub_graphs=[echo_graph(id="y")])
    constants = {"graph_id": "y", "graph_version": 1, "input_schema": {"properties": {"said": {}}}, "output_schema": {}}
    whole["nodes"].append({"id": "n", "block_id": NestedBlock.id, "input_default": constants})
    return whole


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield (*path, step)
        yield from places(value[step], (*path, step))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
async def test_nothing_in_a_graph_breaks_the_server(api: Api, value: Any) -> None:
    ann = api("ann")
    for place in places(graph()):
        changed = graph()
        target = changed
        for step in place[:-1]:
            target = target[step]
        target[place[-1]] = copy.deepcopy(value)
        response = await ann.post("/api/graphs", json={"graph": changed})
        assert response.status_code in (200, 400, 422), (place, response.text)
        if response.status_code != 200:
            assert response.json()["message"]
            continue
        stored = response.json()
        stored.pop("warnings", None)  # told once, to who stores it
        shown = await ann.get(f"/api/graphs/{stored['id']}")
        assert (shown.status_code, shown.json()) == (200, stored), place
        exported = await ann.get(f"/api/graphs/{stored['id']}", params={"for_export": True})
        assert exported.status_code == 200, (place, exported.text)
    assert (await ann.get("/api/graphs")).status_code == 200
