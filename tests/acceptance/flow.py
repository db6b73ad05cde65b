"""Acceptance examples: which node runs when, and how runs end."""

from tests.acceptance.example import Example, done, incomplete, stored, text
from tests.support.drawing import (
    ADD_TO_LIST,
    CALCULATOR,
    CONDITION,
    CREATE_LIST,
    FILL_TEXT,
    INPUT,
    OUTPUT,
    SLOW,
    STEP,
    STORE,
    draw,
)

FLOW = [
    Example(
        "A1 passthrough",
        draw({"in": (INPUT, {"name": "x"}), "out": (OUTPUT, {"name": "r"})}, "in.result -> out.value"),
        {
            "in": [done({"name": "x", "value": "hi"}, result=["hi"])],
            "out": [done({"name": "r", "value": "hi"}, output=["hi"], name=["r"])],
        },
        2,
        inputs={"x": "hi"},
        outputs={"r": ["hi"]},
    ),
    Example(
        "A2 fan-out",
        draw(
            {"a": (STORE, {"input": 5}), "b": (STORE, {}), "c": (STORE, {})},
            "a.output -> b.input",
            "a.output -> c.input",
        ),
        {"a": [stored(5)], "b": [stored(5)], "c": [stored(5)]},
        3,
    ),
    Example(
        "A3 duplicate link",
        draw({"a": (STORE, {"input": 1}), "b": (STORE, {})}, "a.output -> b.input", "a.output -> b.input"),
        {"a": [stored(1)], "b": [stored(1), stored(1)]},
        3,
    ),
    Example(
        "A4 pairing by FIFO",
        draw(
            {
                "s1": (STEP, {"items": [1, 2, 3]}),
                "s2": (STEP, {"items": [10, 20]}),
                "c": (CALCULATOR, {"operation": "Add"}),
            },
            "s1.item -> c.a",
            "s2.item -> c.b",
        ),
        {
            "c": [
                done({"operation": "Add", "a": 1.0, "b": 10.0}, result=[11.0]),
                done({"operation": "Add", "a": 2.0, "b": 20.0}, result=[22.0]),
                incomplete(a=3),
            ]
        },
        4,
        partial=True,
    ),
    Example(
        "A5 loop",
        draw(
            {"st": (STEP, {"items": ["a", "b", "c"]}), "t": (FILL_TEXT, {"format": "{{i}}={{k}}"})},
            "st.item -> t.values_#_i",
            "st.key -> t.values_#_k",
        ),
        {
            "st": [done({"items": ["a", "b", "c"]}, item=["a", "b", "c"], key=[0, 1, 2])],
            "t": [
                done(text("{{i}}={{k}}", {"i": letter, "k": n}, i=letter, k=n), output=[f"{letter}={n}"])
                for n, letter in enumerate("abc")
            ],
        },
        4,
    ),
    Example(
        "A6 emission order",
        draw(
            {"st": (STEP, {"items": [0.8, 0.1]}), "s": (SLOW, {"v": "k"}), "z": (STORE, {})},
            "st.item -> s.delay",
            "s.out -> z.input",
        ),
        {
            "s": [done({"v": "k", "delay": 0.8}, out=["k"]), done({"v": "k", "delay": 0.1}, out=["k"])],
            "z": [stored("k"), stored("k")],
        },
        5,
        partial=True,
    ),
    Example(
        "A7 cycle",
        draw(
            {
                "a": (STORE, {"input": 0}),
                "c": (CALCULATOR, {"operation": "Add", "b": 1}),
                "k": (CONDITION, {"operator": "<", "value2": 3}),
                "out": (OUTPUT, {"name": "final"}),
            },
            "a.output -> c.a",
            "c.result -> k.value1",
            "k.yes_output -> c.a",
            "k.no_output -> out.value",
        ),
        {
            "c": [done({"operation": "Add", "a": float(n), "b": 1.0}, result=[n + 1.0]) for n in range(3)],
            "out": [done({"name": "final", "value": 3}, output=[3], name=["final"])],
        },
        8,
        outputs={"final": [3]},
        partial=True,
    ),
    Example(
        "A8 accumulate",
        draw(
            {"seed": (CREATE_LIST, {"values": []}), "st": (STEP, {"items": [1, 2, 3]}), "add": (ADD_TO_LIST, {})},
            "seed.list -> add.list",
            "st.item -> add.entry",
            "add.updated_list -> add.list",
        ),
        {
            "add": [
                done({"list": [], "entry": 1}, updated_list=[[1]]),
                done({"list": [1], "entry": 2}, updated_list=[[1, 2]]),
                done({"list": [1, 2], "entry": 3}, updated_list=[[1, 2, 3]]),
                incomplete(list=[1, 2, 3]),
            ]
        },
        5,
        partial=True,
    ),
]
