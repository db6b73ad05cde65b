"""From a graph as drawn to a Plan, or to the list of everything that is wrong with its structure.

There is no check for cycles (loops are normal), for pin types (values are converted when they arrive) or for an order
of nodes (there is none).
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest

from msgspec import Struct
from msgspec.structs import replace

from agentplat.engine.graph import Link, Node
from agentplat.engine.pins import base_name, is_tool_pin
from agentplat.engine.plan import Plan, PlanLink, PlanNode
from agentplat.engine.policy import policy_of
from agentplat.engine.tools import tools_of
from agentplat.sdk.spec import BlockSpec, BlockType

# A broken graph of a hundred thousand links must not cost more to refuse than a sound one to accept.
MAX_PROBLEMS = 1000
MAX_NAMES = 50


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where: the node and, for a wrong pin, the pin."""

    message: str
    node_id: str | None = None
    field: str | None = None


class CompileError(ValueError):
    """The graph's structure is invalid. `problems` has every reason; the message is the first one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


def compile_graph(nodes: Sequence[Node], links: Sequence[Link], specs: Mapping[str, BlockSpec]) -> Plan:
    """Compile a graph. `specs` has the known blocks by id. Raises CompileError with all problems at once."""
    if problems := find_problems(nodes, links, specs):
        raise CompileError(problems)
    links = repair_static(nodes, links, specs)
    by_id = {node.id: node for node in nodes}
    index = {node.id: position for position, node in enumerate(nodes)}
    inbound: dict[str, list[Link]] = {node.id: [] for node in nodes}
    outbound: dict[str, list[Link]] = {node.id: [] for node in nodes}
    for link in links:
        inbound[link.sink_id].append(link)
        outbound[link.source_id].append(link)
    plan_nodes = []
    for position, node in enumerate(nodes):
        spec, leaving = specs[node.block_id], outbound[node.id]
        tools = tools_of(leaving, by_id, specs) if spec.calls_tools else ()
        plan_links = [PlanLink(link, index[link.sink_id]) for link in leaving]
        plan_nodes.append(PlanNode(position, node, spec, inbound[node.id], plan_links, tools))
    return Plan(plan_nodes)


def repair_static(nodes: Sequence[Node], links: Sequence[Link], specs: Mapping[str, BlockSpec]) -> list[Link]:
    """`links` with those of static-output blocks made static. Flags are only ever raised, never lowered."""
    static = {node.id for node in nodes if node.block_id in specs and specs[node.block_id].static_output}
    return [
        replace(link, is_static=True) if link.source_id in static and not link.is_static else link for link in links
    ]


def find_problems(nodes: Sequence[Node], links: Sequence[Link], specs: Mapping[str, BlockSpec]) -> list[Problem]:
    """What is structurally wrong, up to a limit: doubled ids, unknown blocks, links without an end, unknown pins."""
    problems: list[Problem] = []
    by_id: dict[str, Node] = {}
    for node in nodes:
        if node.id in by_id:
            problems.append(Problem(f"Node id {node.id} is used twice", node.id))
        by_id[node.id] = node
        if node.block_id not in specs:
            problems.append(Problem(f"Invalid block {node.block_id} for node #{node.id}", node.id))
            continue
        try:
            policy_of(specs[node.block_id], node.metadata)
        except ValueError as error:
            problems.append(Problem(f"Node #{node.id}: {error}", node.id, "metadata"))
    for link in links:
        if len(problems) >= MAX_PROBLEMS:
            break
        problems.extend(
            problem
            for problem in (
                _end_problem(link, link.source_id, link.source_name, by_id, specs, is_source=True),
                _end_problem(link, link.sink_id, link.sink_name, by_id, specs, is_source=False),
            )
            if problem
        )
    return problems


def _end_problem(
    link: Link,
    node_id: str,
    pin: str,
    by_id: Mapping[str, Node],
    specs: Mapping[str, BlockSpec],
    *,
    is_source: bool,
) -> Problem | None:
    name = f"Link ('{link.source_id}', '{link.source_name}') <-> ('{link.sink_id}', '{link.sink_name}')"
    node = by_id.get(node_id)
    if node is None:
        return Problem(f"{name}, {node_id} is invalid node id, available nodes: {_some(by_id)}", node_id)
    spec = specs.get(node.block_id)
    if spec is None or is_tool_pin(pin):
        return None  # an unknown block is reported once, for its node
    fields = _agent_pins(node, is_source) if spec.block_type is BlockType.AGENT else _pins(spec, is_source)
    if base_name(pin) in fields:
        return None
    return Problem(f"{name}, `{pin}` invalid, Allowed fields: {_some(fields)}", node_id, pin)


def _some(names: Iterable[str]) -> list[str]:
    return nsmallest(MAX_NAMES, names)


def _pins(spec: BlockSpec, is_source: bool) -> set[str]:
    return set(spec.outputs if is_source else spec.inputs)


def _agent_pins(node: Node, is_source: bool) -> set[str]:
    """An agent node's pins are those of the graph that it runs, as its constants describe them."""
    schema = node.input_default.get("output_schema" if is_source else "input_schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return set(properties) if isinstance(properties, dict) else set()
