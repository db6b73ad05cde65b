"""A compiled graph: integer indices instead of ids, and everything that doesn't change between runs worked out."""

from collections.abc import Mapping
from typing import Any

from agentplat.engine.assembly import AgentAssembler, Assembler, CallerAssembler
from agentplat.engine.graph import Link, Node
from agentplat.engine.pins import Route, route
from agentplat.engine.policy import policy_of
from agentplat.sdk.spec import BlockSpec, BlockType
from agentplat.sdk.tools import CONVERSATION_PIN, RESULT_PIN, Tool


class PlanLink:
    """A link with its sink's index. Order within a node is the graph's, because routing follows it."""

    __slots__ = ("is_static", "selector", "sink", "sink_id", "sink_name")

    def __init__(self, link: Link, sink: int) -> None:
        self.sink = sink
        self.sink_id = link.sink_id
        self.selector = link.source_name
        self.sink_name = link.sink_name
        self.is_static = link.is_static


class PlanNode:
    """A node with its block, its wiring and its assembler."""

    __slots__ = (
        "_routes",
        "assembler",
        "constants",
        "id",
        "index",
        "input_name",
        "is_agent",
        "is_output",
        "is_review",
        "is_start",
        "linked",
        "links",
        "needed",
        "policy",
        "spec",
        "static_pins",
        "tools",
    )

    def __init__(
        self,
        index: int,
        node: Node,
        spec: BlockSpec,
        inbound: list[Link],
        links: list[PlanLink],
        tools: tuple[Tool, ...] = (),
    ) -> None:
        self.index = index
        self.id = node.id
        self.spec = spec
        self.policy = policy_of(spec, node.metadata)
        self.links = links
        self.tools = tools
        self.linked: tuple[str, ...] = tuple(dict.fromkeys(link.sink_name for link in inbound))
        self.static_pins = tuple(dict.fromkeys(link.sink_name for link in inbound if link.is_static))
        # The linked pins without which it is not ready. Of a caller's loop its assembler decides.
        loop = (CONVERSATION_PIN, RESULT_PIN) if spec.calls_tools else ()
        self.needed = tuple(name for name in self.linked if name not in loop)
        self.constants = node.input_default
        self.is_agent = spec.block_type is BlockType.AGENT
        self.is_review = spec.block_type is BlockType.HUMAN_IN_THE_LOOP
        self.assembler: Assembler
        if self.is_agent:
            self.assembler = AgentAssembler(spec, node.input_default.get("inputs"), self.linked)
        elif spec.calls_tools:
            self.assembler = CallerAssembler(spec, node.input_default, self.linked, self.static_pins)
        else:
            self.assembler = Assembler(spec, node.input_default, self.linked)
        is_input = spec.block_type is BlockType.INPUT
        self.is_start = (not inbound or is_input) and spec.block_type is not BlockType.NOTE
        # The run's input that this node takes.
        self.input_name: str | None = node.input_default.get("name") if is_input else None
        self.is_output = spec.block_type is BlockType.OUTPUT
        self._routes: dict[str, list[tuple[PlanLink, Route]]] = {}

    def routes(self, emitted: str) -> list[tuple[PlanLink, Route]]:
        """The links that listen to the output `emitted`, in order. Remembered, as a block emits few names."""
        found = self._routes.get(emitted)
        if found is None:
            pairs = ((link, route(emitted, link.selector, link.sink_id, link.sink_name)) for link in self.links)
            found = [(link, way) for link, way in pairs if way is not None]
            if emitted in self.spec.outputs:  # undeclared names are the block's to invent: not remembered
                self._routes[emitted] = found
        return found


class Plan:
    """What a run of one graph version needs to know. Immutable; cached by (graph id, version)."""

    __slots__ = ("by_id", "nodes")

    def __init__(self, nodes: list[PlanNode]) -> None:
        self.nodes = nodes
        self.by_id = {node.id: node for node in nodes}


class StartError(ValueError):
    """A run can't begin with these inputs."""


def starting_inputs(
    plan: Plan,
    inputs: Mapping[str, Any],
    masks: Mapping[str, dict[str, Any]],
    skipped: frozenset[str] = frozenset(),
) -> list[tuple[PlanNode, dict[str, Any]]]:
    """The nodes that a run begins with, each with its assembled input, in the graph's order. Raises StartError."""
    begun: list[tuple[PlanNode, dict[str, Any]]] = []
    for node in plan.nodes:
        if not node.is_start:
            continue
        data: dict[str, Any] = {}
        if node.input_name is not None and node.input_name in inputs:
            data["value"] = inputs[node.input_name]
        data.update(masks.get(node.id, {}))
        unlinked = [name for name in node.linked if name not in data]
        if unlinked:
            raise StartError(
                f"Input data missing or mismatch for `{node.spec.name}`: unpopulated links {sorted(unlinked)}"
            )
        assembled = node.assembler.assemble(data, plain=False)
        if isinstance(assembled, str):
            if node.id not in skipped:
                raise StartError(assembled)
            assembled = {**node.constants, **data}
        begun.append((node, assembled))
    if not begun:
        raise StartError(
            "No starting nodes found for the graph, make sure an AgentInput or blocks with no inbound links are "
            "present as starting nodes."
        )
    return begun
