"""The one generator of benchmark graphs, in the form in which a client sends them."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"


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


def _node(node_id: str, block_id: str, constants: dict[str, Any]) -> dict[str, Any]:
    return {"id": node_id, "block_id": block_id, "input_default": constants, "metadata": {}}


def _link(source: str, source_name: str, sink: str, sink_name: str) -> dict[str, Any]:
    return {"source_id": source, "source_name": source_name, "sink_id": sink, "sink_name": sink_name}


def _graph(name: str, nodes: list[dict[str, Any]], links: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "description": "made by a benchmark", "nodes": nodes, "links": links}
