"""Random small graphs of blocks that are plain functions, and what these blocks emit."""

import random
from typing import Any

from msgspec import Struct

from agentplat.engine.compile import compile_graph
from agentplat.engine.graph import Link, Node
from agentplat.engine.plan import Plan
from agentplat.sdk.spec import BlockSpec, BlockType, CostEntry, PinSpec

INLINE, WAITING, EFFECT, REPEATABLE, OUTPUT = "inline", "waiting", "effect", "repeatable", "output"
# One that costs a credit, one that runs another agent, one that asks a person, one that asks before it acts, and one
# that has a tool run as often as it is told.
PAID, AGENT, REVIEW, SENSITIVE, CALLER = "paid", "agent", "review", "sensitive", "caller"
ONCE = (EFFECT, PAID, SENSITIVE)
# How many graphs there are, each run by nodes of the one before.
LEVELS = 3
LEAST, MOST = 2, 7
# How many nodes of a graph may emit more than one value: bounds the number of executions.
MOST_SPREADING = 2
LOOP_UNTIL = 4
# How often a caller has its tool run.
CALLS = 2
PLAIN = (INLINE, INLINE, WAITING, EFFECT, REPEATABLE)
TOOLS = (INLINE, WAITING, EFFECT)


def _spec(
    name: str,
    *,
    pins: tuple[str, ...] = ("a", "b"),
    block_type: BlockType = BlockType.STANDARD,
    outputs: tuple[str, ...] = ("out", "low", "error"),
) -> BlockSpec:
    return BlockSpec(
        id=name,
        name=name,
        description="",
        block_type=block_type,
        input_schema={},
        output_schema={},
        inputs={pin: PinSpec(name=pin, schema={}, required=False, convert=False) for pin in pins},
        outputs={output: {} for output in outputs},
        pure=name in (INLINE, WAITING, OUTPUT),
        inline=name in (INLINE, OUTPUT),
        repeatable=name not in ONCE,
        sensitive=name == SENSITIVE,
        calls_tools=name == CALLER,
        costs=(CostEntry(cost_amount=1),) if name == PAID else (),
    )


SAID = ("approved_data", "rejected_data", "review_message", "error")
SPECS = {name: _spec(name) for name in (INLINE, WAITING, EFFECT, REPEATABLE, PAID, SENSITIVE, CALLER)} | {
    OUTPUT: _spec(OUTPUT, pins=("name", "value"), block_type=BlockType.OUTPUT),
    AGENT: _spec(AGENT, block_type=BlockType.AGENT),
    REVIEW: _spec(REVIEW, block_type=BlockType.HUMAN_IN_THE_LOOP, outputs=SAID),
}
# An agent node's pins are those that its constants name.
AGENT_PINS = {
    "input_schema": {"properties": {"a": {}, "b": {}}},
    "output_schema": {"properties": {"result": {}, "error": {}}},
}


class Graph(Struct):
    """`confluent`: its result doesn't depend on the order of events, because no pin has two sources, and not on what
    others do."""

    plan: Plan
    confluent: bool
    effects: bool


def random_graphs(chance: random.Random) -> list[Graph]:
    """The second is run by nodes of the first, and so on. Half of all worlds have nothing that waits for others."""
    if chance.random() < 0.5:
        return [random_graph(chance, ())]
    others = (PAID, REVIEW, SENSITIVE, CALLER)
    above = [random_graph(chance, (*others, AGENT), MOST - 2) for _ in range(LEVELS - 1)]
    return [*above, random_graph(chance, others, MOST - 3)]


def random_graph(chance: random.Random, others: tuple[str, ...], most: int = MOST) -> Graph:
    """Without cycles, or with one that counts up to a bound; with fan-out, fan-in, failures and joined pins."""
    size = chance.randint(LEAST, most)
    kinds = [chance.choice(others) if others and chance.random() < 0.4 else chance.choice(PLAIN) for _ in range(size)]
    spreading = set(chance.sample(range(size), chance.randint(0, MOST_SPREADING)))
    nodes = [
        Node(
            id=f"n{index}",
            block_id=kind,
            input_default={"a": index, "b": 1, "add": index + 1, "times": 2 if index in spreading else 1}
            | (AGENT_PINS if kind == AGENT else {}),
        )
        for index, kind in enumerate(kinds)
    ]
    links: list[Link] = []
    merged = chance.random() < 0.3
    for sink in range(1, size):
        for pin in ("a", "b")[: chance.choice((0, 1, 1, 1, 2))]:
            for _ in range(chance.choice((1, 2)) if merged else 1):
                source = chance.randrange(sink)
                links.append(_link(f"n{source}", _emitted_by(kinds[source], chance), f"n{sink}", pin))
    for index, kind in enumerate(kinds):
        if kind == CALLER:
            tool = Node(id=f"t{index}", block_id=chance.choice(TOOLS), input_default={"b": 1, "add": 1})
            nodes.append(tool)
            links.append(_link(f"n{index}", f"tools_^_{tool.id}_~_a", tool.id, "a"))
    if looping := kinds[0] in PLAIN and chance.random() < 0.2:
        nodes.append(Node(id="loop", block_id=chance.choice((INLINE, WAITING)), input_default={"b": 1, "add": 1}))
        links += [_link("n0", "out", "loop", "a"), _link("loop", "low", "loop", "a")]
    nodes.append(Node(id="result", block_id=OUTPUT, input_default={"name": "result"}))
    links.append(_link(f"n{size - 1}", _emitted_by(kinds[-1], chance), "result", "value"))
    return Graph(
        compile_graph(nodes, links, SPECS),
        confluent=not {EFFECT, *others} & set(kinds)
        and not looping
        and len({(one.sink_id, one.sink_name) for one in links}) == len(links),
        effects=EFFECT in kinds or REPEATABLE in kinds,
    )


def _emitted_by(kind: str, chance: random.Random) -> str:
    name = chance.choice(("out", "out", "out", "error"))
    if kind == REVIEW:
        return chance.choice(("approved_data", "rejected_data"))
    return "result" if kind == AGENT and name == "out" else name


def _link(source: str, source_name: str, sink: str, sink_name: str) -> Link:
    return Link(source_id=source, source_name=source_name, sink_id=sink, sink_name=sink_name)


def emitted(kind: str, data: dict[str, Any]) -> tuple[list[tuple[str, Any]], str | None]:
    """What a block does with its input: its outputs in order, and its error."""
    if kind == OUTPUT:
        return [("out", data["value"])], None
    base = data["a"] if isinstance(data["a"], int) else len(data["a"] or "")
    value = base + data["add"] * (data["b"] if isinstance(data["b"], int) else 1)
    outputs: list[tuple[str, Any]] = [("out", value + more) for more in range(data.get("times", 1))]
    if value <= LOOP_UNTIL:
        outputs.append(("low", value))
    return outputs, "it failed" if value % 5 == 4 else None
