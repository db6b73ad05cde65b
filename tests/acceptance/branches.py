"""Acceptance examples: conditions, joins, and nodes that fail."""

from tests.acceptance.example import Example, done, failed, incomplete, stored
from tests.support.drawing import (
    CONDITION,
    CREATE_DICT,
    INPUT,
    MID,
    NEG,
    STORE,
    draw,
)

BOOM = f"raised by MidBlock with message: 'boom'. block_id: {MID}"
NEGATIVE = f"raised by FailIfNegBlock with message: neg. block_id: {NEG}"

BRANCHES = [
    Example(
        "A19 branch, join never",
        draw(
            {
                "i": (INPUT, {"name": "n"}),
                "c": (CONDITION, {"operator": ">", "value2": 10}),
                "y": (STORE, {}),
                "no": (STORE, {}),
                "both": (CREATE_DICT, {}),
            },
            "i.result -> c.value1",
            "c.yes_output -> y.input",
            "c.no_output -> no.input",
            "y.output -> both.values_#_y",
            "no.output -> both.values_#_n",
        ),
        {
            "i": [done({"name": "n", "value": 42}, result=[42])],
            "c": [done({"operator": ">", "value2": 10, "value1": 42}, result=[True], yes_output=[42])],
            "y": [stored(42)],
            "both": [incomplete(**{"values_#_y": 42})],
        },
        3,
        inputs={"n": 42},
    ),
    Example(
        "A20 error pin",
        draw(
            {"n1": (NEG, {"x": -1}), "n2": (NEG, {"x": 3}), "e": (STORE, {}), "o": (STORE, {})},
            "n1.error -> e.input",
            "n1.ok -> o.input",
            "n2.ok -> o.input",
            "n2.error -> e.input",
        ),
        {
            "n1": [failed({"x": -1}, error=[NEGATIVE])],
            "n2": [done({"x": 3}, ok=[3])],
            "e": [stored(NEGATIVE)],
            "o": [stored(3)],
        },
        4,
        errors=1,
    ),
    Example(
        "A21 partial then crash",
        draw({"r": (MID, {"go": 1}), "s": (STORE, {}), "e": (STORE, {})}, "r.a -> s.input", "r.error -> e.input"),
        {"r": [failed({"go": 1}, a=[1, 2], error=[BOOM])], "s": [stored(1), stored(2)], "e": [stored(BOOM)]},
        4,
        errors=1,
    ),
]
