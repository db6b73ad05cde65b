"""What is suspicious about nodes that run other graphs: how they are filled in and wired, against what those graphs
take and give.

An agent node has a copy of the schemas of the graph that it runs, made when it was drawn. The AutoGPT Platform checks
links against that copy and never against the graph, and agents that are stale or half wired do run there, with values
converted or ignored. So nothing here keeps a graph from being stored: it is said, in the order of the nodes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agentplat.engine.graph import Link, Node
from agentplat.engine.pins import base_name, is_tool_pin
from agentplat.graphs.models import MAX_VERSION, GraphVersion, GraphWarning, JsonObject
from agentplat.graphs.rules import interface
from agentplat.graphs.rules.interface import Specs
from agentplat.infra.ids import is_id
from agentplat.sdk.spec import BlockType

GraphRef = tuple[Any, Any]
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class _Callee:
    """A graph as those who run it see it."""

    def __init__(self, graph: GraphVersion, specs: Specs) -> None:
        self.name = f"'{graph.name}' v{graph.version}"
        self.inputs = interface.input_schema(graph.nodes, specs)
        self.outputs = interface.output_schema(graph.nodes, specs)


def warnings(stored: Sequence[GraphVersion], sub_graphs: Iterable[GraphVersion], specs: Specs) -> list[GraphWarning]:
    """About the nodes of graphs that are stored together. `sub_graphs` are all graphs that the first of them runs, at
    any depth, as far as the user has them."""
    known: dict[GraphRef, _Callee] = {
        (part.id, part.version): _Callee(part, specs) for part in (stored[0], *sub_graphs)
    }
    return [
        GraphWarning(node_id=node_id, field=field, message=message)
        for graph in stored
        for node_id, field, message in _of_graph(graph, known, specs)
    ]


def _of_graph(graph: GraphVersion, known: Mapping[GraphRef, _Callee], specs: Specs) -> Iterator[tuple[str, str, str]]:
    nodes = {node.id: node for node in graph.nodes}
    callees = {node.id: known.get(_ref(node)) for node in graph.nodes if _is_agent(node, specs)}
    for node_id, callee in callees.items():
        node = nodes[node_id]
        if callee is None:
            graph_id, version = _ref(node)
            yield node_id, "graph_version", f"There is no version {version} of a graph #{graph_id} among your graphs"
            continue
        inbound = [link for link in graph.links if link.sink_id == node_id]
        outbound = [link for link in graph.links if link.source_id == node_id]
        for field, message in (
            *_stale(node, "input_schema", callee.inputs, callee),
            *_stale(node, "output_schema", callee.outputs, callee),
            *_given(node, inbound, callee),
            *_linked(inbound, nodes, callees, callee, specs),
            *_taken(outbound, callee),
        ):
            yield node_id, field, message


def refs(nodes: Iterable[Node], specs: Specs) -> set[tuple[str, int]]:
    """The graphs that agent nodes run, as far as there could be such."""
    named = (_ref(node) for node in nodes if _is_agent(node, specs))
    return {(one, version) for one, version in named if one and is_id(one) and version and 0 < version <= MAX_VERSION}


def _is_agent(node: Node, specs: Specs) -> bool:
    spec = specs.get(node.block_id)
    return spec is not None and spec.block_type is BlockType.AGENT


def _ref(node: Node) -> GraphRef:
    graph_id, version = node.input_default.get("graph_id"), node.input_default.get("graph_version")
    return (graph_id if isinstance(graph_id, str) else None), (version if type(version) is int else None)


def _stale(node: Node, field: str, real: JsonObject, callee: _Callee) -> Iterator[tuple[str, str]]:
    """What the node's copy of a schema says otherwise than the graph."""
    copy = node.input_default.get(field)
    copied = copy.get("properties") if isinstance(copy, dict) else None
    copied = copied if isinstance(copied, dict) else {}
    properties: JsonObject = real["properties"]
    kind = field.removesuffix("_schema")
    if missing := [name for name in properties if name not in copied]:
        yield field, f"The copy of the schema is out of date: {callee.name} also has the {kind} {_list(missing)}"
    if gone := [name for name in copied if name not in properties]:
        yield field, f"The copy of the schema is out of date: {callee.name} has no {kind} {_list(gone)}"
    for name, schema in properties.items():
        said, is_ = types_of(copied.get(name)), types_of(schema)
        if name in copied and said and is_ and said != is_:
            text = f"'{name}' is {_alternatives(is_)} in {callee.name}, not {_alternatives(said)}"
            yield field, f"The copy of the schema is out of date: {text}"


def _given(node: Node, inbound: Iterable[Link], callee: _Callee) -> Iterator[tuple[str, str]]:
    """What the graph gets from constants, and what it does not get at all."""
    inputs = node.input_default.get("inputs")
    constants: Mapping[str, Any] = inputs if isinstance(inputs, dict) else {}
    linked = dict.fromkeys(base_name(link.sink_name) for link in inbound)
    properties: JsonObject = callee.inputs["properties"]
    for name in [*constants, *(name for name in linked if name not in constants)]:
        if name not in properties:
            yield name, f"{callee.name} has no input '{name}': what it is given is ignored"
    for name in callee.inputs["required"]:
        if constants.get(name) is None and name not in linked:
            yield name, f"{callee.name} needs the input '{name}', and nothing is given to it"
    for name, value in constants.items():
        accepted = types_of(properties.get(name))
        kind = _JSON_TYPES.get(type(value))
        if kind and accepted and not _fits({kind}, accepted) and name not in linked:
            yield name, f"'{name}' of {callee.name} is {_alternatives(accepted)}, and the constant is {kind}"


def _linked(
    inbound: Iterable[Link],
    nodes: Mapping[str, Node],
    callees: Mapping[str, _Callee | None],
    callee: _Callee,
    specs: Specs,
) -> Iterator[tuple[str, str]]:
    """Links whose values can't be what the graph takes."""
    for link in inbound:
        accepted = types_of(callee.inputs["properties"].get(link.sink_name))
        given = types_of(_source_schema(link, nodes, callees, specs))
        if accepted and given and not _fits(given, accepted):
            text = f"and '{link.source_name}' of node #{link.source_id} gives {_alternatives(given)}"
            yield link.sink_name, f"'{link.sink_name}' of {callee.name} is {_alternatives(accepted)}, {text}"


def _source_schema(link: Link, nodes: Mapping[str, Node], callees: Mapping[str, _Callee | None], specs: Specs) -> Any:
    """Nothing where the pin's name selects a part of the value: nobody says of what form that is."""
    if is_tool_pin(link.source_name):
        return None
    if link.source_id in callees:
        source = callees[link.source_id]
        return None if source is None else source.outputs["properties"].get(link.source_name)
    node = nodes.get(link.source_id)
    spec = specs.get(node.block_id) if node else None
    return spec.outputs.get(link.source_name) if spec else None


def _taken(outbound: Iterable[Link], callee: _Callee) -> Iterator[tuple[str, str]]:
    names = dict.fromkeys(base_name(link.source_name) for link in outbound)
    for name in names:
        if name not in callee.outputs["properties"]:
            yield name, f"{callee.name} has no output '{name}': its links never carry anything"


def types_of(schema: Any) -> set[str]:
    """The JSON types that a schema allows; none where it doesn't say."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return {one for one in kind if isinstance(one, str)}
    for name in ("anyOf", "oneOf"):
        if isinstance(alternatives := schema.get(name), list):
            each = [types_of(one) for one in alternatives]
            return set().union(*each) if all(each) else set()
    return set()


def _fits(given: set[str], accepted: set[str]) -> bool:
    """Whether any value of those types would do as it is. An integer is a number."""
    return bool(given & accepted) or ("integer" in given and "number" in accepted)


def _alternatives(types: set[str]) -> str:
    return " or ".join(sorted(types))


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
