"""The one generator of benchmark graphs, in the form in which a client sends them."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
TIMER = "d67a9c52-5e4e-11e2-bcfd-0800200c9a71"


def chain(length: int) -> dict[str, Any]:
    """`length` trivial nodes in a row."""
    ids = [str(uuid4()) for _ in range(length)]
    nodes = [_node(node, STORE, {"input": 1} if node == ids[0] else {}) for node in ids]
    links = [_link(source, "output", sink, "input") for source, sink in pairwise(ids)]
    return _graph(f"chain of {length}", nodes, links)


def fan_out(items: int, depth: int) -> dict[str, Any]:
    """A loop over `items`, each going through `depth` trivial nodes: 1 + items * depth executions."""
    loop, ids = str(uuid4()), [str(uuid4()) for _ in range(depth)]
    nodes = [_node(loop, STEP, {"items": list(range(items))}), *(_node(node, STORE, {}) for node in ids)]
    links = [_link(loop, "item", ids[0], "input")]
    links += [_link(source, "output", sink, "input") for source, sink in pairwise(ids)]
    return _graph(f"loop over {items}", nodes, links)


def sleeping(nodes: int) -> dict[str, Any]:
    """A loop over so many items, for each of which a timer runs for an hour."""
    loop, timer = str(uuid4()), str(uuid4())
    drawn = [_node(loop, STEP, {"items": list(range(nodes))}), _node(timer, TIMER, {"hours": 1})]
    return _graph(f"{nodes} asleep", drawn, [_link(loop, "item", timer, "input_message")])


def endless() -> dict[str, Any]:
    """An endless loop of two trivial nodes, for who decides himself when it goes on."""
    first, one, two = (str(uuid4()) for _ in range(3))
    nodes = [_node(first, STORE, {"input": 0}), _node(one, STORE, {}), _node(two, STORE, {})]
    links = [_link(source, "output", sink, "input") for source, sink in ((first, one), (one, two), (two, one))]
    return _graph("endless", nodes, links)


def ticking() -> dict[str, Any]:
    """An endless loop of a calculation and a timer of no length, which waits for the journal each time."""
    first, add, timer = (str(uuid4()) for _ in range(3))
    nodes = [
        _node(first, STORE, {"input": 0}),
        _node(add, CALCULATOR, {"operation": "Add", "b": 1}),
        _node(timer, TIMER, {"seconds": 0}),
    ]
    links = [
        _link(first, "output", add, "a"),
        _link(add, "result", timer, "input_message"),
        _link(timer, "output_message", add, "a"),
    ]
    return _graph("ticking", nodes, links)


def _node(node_id: str, block_id: str, constants: dict[str, Any]) -> dict[str, Any]:
    return {"id": node_id, "block_id": block_id, "input_default": constants, "metadata": {}}


def _link(source: str, source_name: str, sink: str, sink_name: str) -> dict[str, Any]:
    return {"source_id": source, "source_name": source_name, "sink_id": sink, "sink_name": sink_name}


def _graph(name: str, nodes: list[dict[str, Any]], links: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "description": "made by a benchmark", "nodes": nodes, "links": links}
