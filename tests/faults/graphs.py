"""The mixed load of fault tests: small graphs of every shape, and what holds for each whatever happens."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from agentplat.engine.state import Status
from tests.support.drawing import (
    AGENT,
    CALCULATOR,
    CALL,
    CALL_AGAIN,
    CALL_APART,
    CALL_APART_AGAIN,
    CONDITION,
    INPUT,
    OUTPUT,
    PAID,
    REVIEW,
    SLOW,
    SPILL,
    STEP,
    STORE,
    Drawing,
    agent,
    draw,
)

CHAIN = 12
# More than a journal row or a result keeps in place.
BIG = "Größe " * 15_000
ROUNDS = 6
# What a user has who runs dry, and why the next node after that can't be started.
PURSE = 3
DRY = "Insufficient balance of $0.00, where this will cost $0.01"


class Shape(Struct, frozen=True):
    """A graph of the load. What is said of a run holds unless it was stopped, however often it was recovered.

    `outputs` are what it emits in the end, where interruptions can't change that. Where the drawing has `@name` for a
    graph, that shape's is meant. Shapes `below` others are not started by clients; `poor` ones are each run by a user
    of their own, who owns no more than a purse.
    """

    name: str
    drawing: Drawing
    executions: int
    status: Status = Status.COMPLETED
    error: str | None = None
    cost: int = 0
    outputs: dict[str, list[Any]] | None = None
    below: bool = False
    poor: bool = False

    def as_graph(self, stored: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """As a client sends it, once the graphs that it runs are stored."""
        graph = self.drawing.as_graph(self.name)
        for node in graph["nodes"]:
            if node["block_id"] == AGENT:
                below = stored[node["input_default"]["graph_id"].removeprefix("@")]
                named = {"graph_id": below["id"], "graph_version": below["version"]}
                node["input_default"] = node["input_default"] | named
        return graph


def shapes(service: str) -> list[Shape]:
    """`service` is the address of the service that nodes with effects call. Graphs come after those that they run."""
    return [*_plain(), *_with_effects(service), *_apart(service), *_charged(), *_asking(), *_nested(), *_big(service)]


def _plain() -> list[Shape]:
    return [
        Shape(
            "chain",
            draw(
                {f"n{n}": (STORE, {"input": 1} if n == 0 else {}) for n in range(CHAIN)},
                *(f"n{n}.output -> n{n + 1}.input" for n in range(CHAIN - 1)),
            ),
            CHAIN,
        ),
        Shape(
            "fan-out",
            draw(
                {"st": (STEP, {"items": list(range(15))}), "a": (STORE, {}), "out": (OUTPUT, {"name": "item"})},
                "st.item -> a.input",
                "a.output -> out.value",
            ),
            31,
        ),
        Shape(
            "loop",
            draw(
                {
                    "a": (STORE, {"input": 0}),
                    "c": (CALCULATOR, {"operation": "Add", "b": 1}),
                    "if": (CONDITION, {"operator": "<", "value2": ROUNDS}),
                    "out": (OUTPUT, {"name": "counted"}),
                },
                "a.output -> c.a",
                "c.result -> if.value1",
                "if.yes_output -> c.a",
                "if.no_output -> out.value",
            ),
            1 + 2 * ROUNDS + 1,
        ),
        Shape(
            "waiting",
            draw(
                {"st": (STEP, {"items": [1, 2, 3]}), "w": (SLOW, {"delay": 1.0}), "s": (STORE, {})},
                "st.item -> w.v",
                "w.out -> s.input",
            ),
            7,
        ),
        Shape("stream", draw({"p": (SPILL, {"count": 40, "delay": 0.05}), "s": (STORE, {})}, "p.n -> s.input"), 41),
    ]


def _with_effects(service: str) -> list[Shape]:
    retries = draw(
        {"st": (STEP, {"items": [1, 2]}), "e": (CALL_AGAIN, {"url": service, "failures": 2}), "s": (STORE, {})},
        "st.item -> e.v",
        "e.out -> s.input",
    )
    policy = {"retry": {"attempts": 4, "delay": 0.2}}
    nodes = [msgspec.structs.replace(node, metadata=policy) if node.id == "e" else node for node in retries.nodes]
    return [
        Shape(
            "effects",
            draw(
                {
                    "st": (STEP, {"items": [1, 2, 3, 4]}),
                    "e": (CALL, {"url": service, "seconds": 0.4}),
                    "s": (STORE, {}),
                    "err": (STORE, {}),
                },
                "st.item -> e.v",
                "e.out -> s.input",
                "e.error -> err.input",
            ),
            9,
        ),
        Shape(
            "repeatable",
            draw(
                {
                    "st": (STEP, {"items": [1, 2, 3]}),
                    "e": (CALL_AGAIN, {"url": service, "seconds": 0.6}),
                    "out": (OUTPUT, {"name": "item"}),
                },
                "st.item -> e.v",
                "e.out -> out.value",
            ),
            7,
        ),
        Shape("retries", Drawing(nodes, retries.links), 5),
    ]


def _apart(service: str) -> list[Shape]:
    """What is done in processes of their own; by a block that may be repeated, and by one that may not."""
    once = {
        "st": (STEP, {"items": [1, 2]}),
        "e": (CALL_APART, {"url": service, "seconds": 0.4}),
        "s": (STORE, {}),
        "err": (STORE, {}),
    }
    again = {
        "st": (STEP, {"items": [1, 2]}),
        "e": (CALL_APART_AGAIN, {"url": service, "seconds": 0.4}),
        "s": (STORE, {}),
    }
    return [
        Shape("apart", draw(once, "st.item -> e.v", "e.out -> s.input", "e.error -> err.input"), 5),
        Shape("apart, repeatable", draw(again, "st.item -> e.v", "e.out -> s.input"), 5),
    ]


def _charged() -> list[Shape]:
    """A paid node that was interrupted has its error routed, so it counts as much as one that was not."""
    dry = draw({"st": (STEP, {"items": list(range(PURSE + 2))}), "p": (PAID, {"delay": 0.2})}, "st.item -> p.v")
    return [
        Shape(
            "charged",
            draw(
                {
                    "st": (STEP, {"items": [1, 2, 3]}),
                    "p": (PAID, {"delay": 0.3}),
                    "s": (STORE, {}),
                    "err": (STORE, {}),
                },
                "st.item -> p.v",
                "p.out -> s.input",
                "p.error -> err.input",
            ),
            7,
            cost=3,
        ),
        Shape("dry", dry, 1 + PURSE + 1, Status.FAILED, DRY, PURSE, poor=True),
    ]


def _asking() -> list[Shape]:
    """A node that waits for a person counts twice, whatever the person says."""
    asking = {"h": (REVIEW, {"name": "n"}), "ok": (STORE, {}), "rej": (STORE, {})}
    links = ("h.approved_data -> ok.input", "h.rejected_data -> rej.input")
    below = {
        "q": (INPUT, {"name": "q"}),
        "h": (REVIEW, {"name": "n"}),
        "yes": (OUTPUT, {"name": "yes"}),
        "no": (OUTPUT, {"name": "no"}),
    }
    return [
        Shape("review", draw({"st": (STEP, {"items": [1, 2]}), **asking}, "st.item -> h.data", *links), 7),
        Shape(
            "asked below",
            draw(below, "q.result -> h.data", "h.approved_data -> yes.value", "h.rejected_data -> no.value"),
            4,
            below=True,
        ),
        Shape(
            "review below",
            draw(
                {"ae": agent("@asked below", 1, {"q": 1}, "q", "yes no"), "s": (STORE, {})},
                "ae.yes -> s.input",
                "ae.no -> s.input",
            ),
            6,
        ),
    ]


def _nested() -> list[Shape]:
    slow = {"q": (INPUT, {"name": "q"}), "w": (SLOW, {"delay": 0.5}), "o": (OUTPUT, {"name": "ans"})}
    paid = {
        "q": (INPUT, {"name": "q"}),
        "p": (PAID, {"delay": 0.2}),
        "o": (OUTPUT, {"name": "ans"}),
        "f": (OUTPUT, {"name": "failure"}),
    }
    middle = {
        "q": (INPUT, {"name": "q"}),
        "ae": agent("@paid leaf", 1, {}, "q", "ans failure"),
        "o": (OUTPUT, {"name": "ans"}),
    }
    return [
        Shape("slow leaf", draw(slow, "q.result -> w.v", "w.out -> o.value"), 3, below=True),
        Shape(
            "paid leaf",
            draw(paid, "q.result -> p.v", "p.out -> o.value", "p.error -> f.value"),
            3,
            cost=1,
            below=True,
        ),
        Shape(
            "middle",
            draw(middle, "q.result -> ae.q", "ae.ans -> o.value", "ae.failure -> o.value"),
            6,
            cost=1,
            below=True,
        ),
        Shape(
            "sub-graphs",
            draw(
                {"st": (STEP, {"items": [1, 2]}), "ae": agent("@slow leaf", 1, {}, "q", "ans"), "s": (STORE, {})},
                "st.item -> ae.q",
                "ae.ans -> s.input",
            ),
            11,
        ),
        Shape(
            "two deep",
            draw({"ae": agent("@middle", 1, {"q": 1}, "q", "ans"), "s": (STORE, {})}, "ae.ans -> s.input"),
            8,
            cost=1,
        ),
    ]


def _big(service: str) -> list[Shape]:
    """A value over the limit on every way: handed on, to a service, to another process, to a sub-run and back."""
    handed_on = {
        "a": (STORE, {"input": BIG}),
        "e": (CALL_AGAIN, {"url": service, "seconds": 0.2}),
        "apart": (CALL_APART_AGAIN, {"url": service}),
        "out": (OUTPUT, {"name": "big"}),
    }
    return [
        Shape(
            "big",
            draw(handed_on, "a.output -> e.v", "e.out -> apart.v", "apart.out -> out.value"),
            4,
            outputs={"big": [BIG]},
        ),
        Shape(
            "big below",
            draw(
                {"ae": agent("@slow leaf", 1, {"q": BIG}, "q", "ans"), "out": (OUTPUT, {"name": "big"})},
                "ae.ans -> out.value",
            ),
            5,
            outputs={"big": [BIG]},
        ),
    ]
