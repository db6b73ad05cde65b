"""The mixed load of fault tests: small graphs of every shape, and how many executions each has whatever happens."""

from pathlib import Path

from msgspec import Struct

from tests.support.drawing import (
    CALCULATOR,
    CONDITION,
    EFFECT,
    OUTPUT,
    REPEATABLE,
    SLOW,
    SPILL,
    STEP,
    STORE,
    Drawing,
    draw,
)

CHAIN = 12
ROUNDS = 6


class Shape(Struct, frozen=True):
    """A graph of the load. `executions` holds for every run that wasn't stopped, however often it was recovered."""

    name: str
    drawing: Drawing
    executions: int


def shapes(effects: Path) -> list[Shape]:
    """`effects` is the file in which the nodes with effects leave their lines."""
    log = str(effects)
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
        Shape(
            "effects",
            draw(
                {
                    "st": (STEP, {"items": [1, 2, 3, 4]}),
                    "e": (EFFECT, {"path": log, "delay": 0.4}),
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
                    "e": (REPEATABLE, {"path": log, "delay": 0.6}),
                    "out": (OUTPUT, {"name": "item"}),
                },
                "st.item -> e.v",
                "e.out -> out.value",
            ),
            7,
        ),
        Shape("stream", draw({"p": (SPILL, {"count": 40, "delay": 0.05}), "s": (STORE, {})}, "p.n -> s.input"), 41),
    ]
