"""Random small graphs of blocks that are plain functions, and what these blocks emit."""

import random
from typing import Any

from msgspec import Struct

from agentplat.engine.compile import compile_graph
from agentplat.engine.graph import Link, Node
from agentplat.engine.plan import Plan
from agentplat.sdk.spec import BlockSpec, BlockType, PinSpec

INLINE, WAITING, EFFECT, REPEATABLE, OUTPUT = "inline", "waiting", "effect", "repeatable", "output"
LEAST, MOST = 2, 7
# How many nodes of a graph may emit more than one value: bounds the number of executions.
MOST_SPREADING = 2
LOOP_UNTIL = 4


def _spec(name: str, *, pins: tuple[str, ...] = ("a", "b"), block_type: BlockType = BlockType.STANDARD) -> BlockSpec:
    return BlockSpec(
        id=name,
        name=name,
        description="",
        block_type=block_type,
        input_schema={},
        output_schema={},
        inputs={pin: PinSpec(name=pin, schema={}, required=False, convert=False) for pin in pins},
        outputs={"out": {}, "low": {}, "error": {}},
        pure=name in (INLINE, WAITING, OUTPUT),
        inline=name in (INLINE, OUTPUT),
        repeatable=name in (INLINE, WAITING, REPEATABLE, OUTPUT),
    )


SPECS = {name: _spec(name) for name in (INLINE, WAITING, EFFECT, REPEATABLE)} | {
    OUTPUT: _spec(OUTPUT, pins=("name", "value"), block_type=BlockType.OUTPUT)
}


class Graph(Struct):
    """`confluent`: its result doesn't depend on the order of events, because no pin has two sources."""

    plan: Plan
    confluent: bool
    effects: bool


def random_graph(chance: random.Random) -> Graph:
    """Without cycles, or with one that counts up to a bound; with fan-out, fan-in, failures and joined pins."""
    size = chance.randint(LEAST, MOST)
    kinds = [chance.choice((INLINE, INLINE, WAITING, EFFECT, REPEATABLE)) for _ in range(size)]
    spreading = set(chance.sample(range(size), chance.randint(0, MOST_SPREADING)))
    nodes = [
        Node(
            id=f"n{index}",
            block_id=kind,
            input_default={"a": index, "b": 1, "add": index + 1, "times": 2 if index in spreading else 1},
        )
        for index, kind in enumerate(kinds)
    ]
    links: list[Link] = []
    merged = chance.random() < 0.3
    for sink in range(1, size):
        for pin in ("a", "b")[: chance.choice((0, 1, 1, 1, 2))]:
            for _ in range(chance.choice((1, 2)) if merged else 1):
                name = chance.choice(("out", "out", "out", "error"))
                links.append(_link(f"n{chance.randrange(sink)}", name, f"n{sink}", pin))
    if looping := chance.random() < 0.2:
        nodes.append(Node(id="loop", block_id=chance.choice((INLINE, WAITING)), input_default={"b": 1, "add": 1}))
        links += [_link("n0", "out", "loop", "a"), _link("loop", "low", "loop", "a")]
    nodes.append(Node(id="result", block_id=OUTPUT, input_default={"name": "result"}))
    links.append(_link(f"n{size - 1}", "out", "result", "value"))
    return Graph(
        compile_graph(nodes, links, SPECS),
        confluent=EFFECT not in kinds
        and not looping
        and len({(one.sink_id, one.sink_name) for one in links}) == len(links),
        effects=EFFECT in kinds or REPEATABLE in kinds,
    )


def _link(source: str, source_name: str, sink: str, sink_name: str) -> Link:
    return Link(source_id=source, source_name=source_name, sink_id=sink, sink_name=sink_name)


def emitted(kind: str, data: dict[str, Any]) -> tuple[list[tuple[str, Any]], str | None]:
    """What a block does with its input: its outputs in order, and its error."""
    if kind == OUTPUT:
        return [("out", data["value"])], None
    base = data["a"] if isinstance(data["a"], int) else len(data["a"])
    value = base + data["add"] * (data["b"] if isinstance(data["b"], int) else 1)
    outputs: list[tuple[str, Any]] = [("out", value + more) for more in range(data.get("times", 1))]
    if value <= LOOP_UNTIL:
        outputs.append(("low", value))
    return outputs, "it failed" if value % 5 == 4 else None
