import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.sdk.convert import converter
from tests.support.shared import SHARED, needs_shared

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
BOOLEAN = {"type": "boolean"}
LIST = {"type": "array", "items": {}}
TEXTS = {"type": "array", "items": TEXT}
OBJECT = {"type": "object", "additionalProperties": True}
TEXT_MAP = {"type": "object", "additionalProperties": TEXT}
NULL = {"type": "null"}

SCHEMAS: dict[str, dict[str, Any]] = {
    "str": TEXT,
    "int": INTEGER,
    "float": NUMBER,
    "bool": BOOLEAN,
    "list": LIST,
    "list[Any]": LIST,
    "list[str]": TEXTS,
    "dict": OBJECT,
    "dict[str,str]": TEXT_MAP,
    "Any": {},
    "str|int": {"anyOf": [TEXT, INTEGER]},
    "int|str": {"anyOf": [INTEGER, TEXT]},
    "Optional[int]": {"anyOf": [INTEGER, NULL]},
    "dict|None": {"anyOf": [OBJECT, NULL]},
    "dict[str,Any]|list": {"anyOf": [OBJECT, LIST]},
}
# Where a union has a member that the value fits already, that member is taken, not the first one.
BETTER = {("str|int", "1"): 1, ("int|str", '"7"'): "7", ("int|str", '"x"'): "x"}


def convert(value: Any, schema: dict[str, Any]) -> Any:
    function = converter(schema)
    return value if function is None else function(value)


@needs_shared
def test_the_contracts_vectors() -> None:
    vectors = json.loads((SHARED / "catalog" / "local_vectors.json").read_text())["coercion"]
    assert vectors
    for vector in vectors:
        key = vector["type"], json.dumps(vector["value"])
        expected = BETTER.get(key, vector["result"])
        got = convert(vector["value"], SCHEMAS[vector["type"]])
        assert (got, type(got)) == (expected, type(expected)), vector


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ("é", TEXT, "é"),
        (["é"], TEXT, '["\\u00e9"]'),
        ("5.5", INTEGER, 5),
        ([1, 2, 3], INTEGER, 3),
        ("inf", INTEGER, 0),
        ("nan", INTEGER, 0),
        (10**400, NUMBER, 0.0),
        ({"a": 1}, NUMBER, 1.0),
        ("TRUE", BOOLEAN, True),
        ("yes", BOOLEAN, False),
        ([], BOOLEAN, False),
        ({"a": 1}, LIST, [["a", 1]]),
        (" [1, 2] ", LIST, [1, 2]),
        ("[1, 2", LIST, ["[1, 2"]),
        ("[nonsense]", LIST, ["[nonsense]"]),
        (None, LIST, [None]),
        ("[1]", OBJECT, {"value": [1]}),
        ("text", OBJECT, {"value": "text"}),
        (5, OBJECT, {"value": 5}),
        ([1, 2], TEXT_MAP, {"0": "1", "1": "2"}),
        (True, {"anyOf": [INTEGER, BOOLEAN]}, True),
        ("2024-01-01", {"type": "string", "format": "date"}, "2024-01-01"),
        (5, {"type": "string", "enum": ["5"]}, 5),
        (5, {"type": "string", "format": "short-text"}, "5"),
        ({"a": 1}, {"type": "object", "properties": {"a": TEXT}}, {"a": 1}),
        (5, {"anyOf": [{"enum": ["a"]}, TEXT]}, 5),
    ],
)
def test_conversion(value: Any, schema: dict[str, Any], expected: Any) -> None:
    got = convert(value, schema)
    assert (got, type(got)) == (expected, type(expected))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)
PLAIN: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


@given(JSON, st.sampled_from(sorted(PLAIN)))
def test_conversion_never_fails_and_reaches_the_type(value: Any, name: str) -> None:
    before = json.dumps(value)
    got = convert(value, SCHEMAS[name])
    assert isinstance(got, PLAIN[name])
    assert convert(got, SCHEMAS[name]) == got
    assert json.dumps(value) == before
