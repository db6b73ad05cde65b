"""The tools of a node: the nodes that its tool links lead to, each with the pins that they feed."""

from collections.abc import Iterable, Mapping
from typing import Any

from agentplat.engine.graph import Link, Node
from agentplat.engine.pins import base_name, is_tool_pin
from agentplat.sdk.spec import BlockSpec, BlockType
from agentplat.sdk.tools import Tool, ToolPin


def tools_of(links: Iterable[Link], nodes: Mapping[str, Node], specs: Mapping[str, BlockSpec]) -> tuple[Tool, ...]:
    """The tools behind a node's outbound links, in the order of the links. `nodes` are the graph's by id."""
    pins: dict[str, dict[str, None]] = {}
    for link in links:
        if is_tool_pin(link.source_name):
            pins.setdefault(link.sink_id, {})[link.sink_name] = None
    return tuple(_tool(nodes[sink], specs[nodes[sink].block_id], names) for sink, names in pins.items())


def _tool(node: Node, spec: BlockSpec, names: Iterable[str]) -> Tool:
    custom = node.metadata.get("customized_name")
    name = custom if isinstance(custom, str) and custom.strip() else ""
    if spec.block_type is BlockType.AGENT:
        return _agent(node, spec, name, names)
    return Tool(
        node_id=node.id,
        name=name or spec.name,
        description=spec.description,
        pins=tuple(_block_pin(pin, spec) for pin in names),
    )


def _block_pin(name: str, spec: BlockSpec) -> ToolPin:
    base = base_name(name)
    declared = spec.inputs.get(base)
    if declared is None:
        return ToolPin(name=name, base=base)
    return ToolPin(name=name, base=base, schema=declared.schema, required=declared.required)


def _agent(node: Node, spec: BlockSpec, name: str, names: Iterable[str]) -> Tool:
    """What the other graph is called, and what it is for, stands in that graph; its inputs stand in the node."""
    constants = node.input_default
    properties = _object(_object(constants.get("input_schema")).get("properties"))
    graph_id, version = constants.get("graph_id"), constants.get("graph_version")
    return Tool(
        node_id=node.id,
        name=name,
        description=spec.description,
        pins=tuple(
            ToolPin(name=pin, base=base_name(pin), schema=_object(properties.get(base_name(pin)))) for pin in names
        ),
        agent=(str(graph_id), version if isinstance(version, int) else 0),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
