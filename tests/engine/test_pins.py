from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.engine.pins import MAX_INDEX, PathError, Route, base_name, merge, parse_path, route, select, split

LEAF = st.sampled_from([None, True, 0, 7, "", "ab"])
KEY = st.sampled_from(["a", "b", "x"])
JSON = LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(KEY, LEAF | st.lists(LEAF, max_size=2), max_size=2)


@pytest.mark.parametrize(
    ("name", "base", "path"),
    [
        ("values", "values", ()),
        ("values_#_Article Title", "values", (("_#_", "Article Title"),)),
        ("a_#_b_$_0", "a", (("_#_", "b"), ("_$_", "0"))),
        ("obj_@_attr", "obj", (("_@_", "attr"),)),
        ("v_#_", "v_#_", ()),
        ("plain_name", "plain_name", ()),
        ("a_#_x_y", "a", (("_#_", "x_y"),)),
    ],
)
def test_split(name: str, base: str, path: tuple[tuple[str, str], ...]) -> None:
    assert split(name) == (base, path)


@pytest.mark.parametrize(
    ("name", "base"),
    [("a_#_b_$_c", "a"), ("v_#_", "v"), ("tools", "tools"), ("tools_^_abc_~_q", "tools"), ("x", "x")],
)
def test_base_name(name: str, base: str) -> None:
    assert base_name(name) == base


@pytest.mark.parametrize("text", ["x", "_#_", "_#_a_$_", "a_#_b", "_$_1x_#__@_y"])
def test_malformed_paths(text: str) -> None:
    assert parse_path(text) is None


@pytest.mark.parametrize(
    ("emitted", "selector", "value", "expected"),
    [
        ("r", "r_$_1", [1, 2, 3], 2),
        ("r", "r_$_5", [1, 2, 3], None),
        ("r", "r_$_x", [1, 2, 3], None),
        ("r", "r_$_-1", [1, 2, 3], 3),
        ("r", "r_$_-4", [1, 2, 3], None),
        ("r", "r_#_a_#_b", {"a": {"b": 1}}, 1),
        ("r", "r_$_0_#_k_$_1", [{"k": [7, 8]}], 8),
        ("r", "r_#_a", {"a": None}, None),
        ("r", "r_#_a", [1], None),
        ("r", "r_$_0", "text", None),
        ("r", "r_@_items", {"items": 1}, None),
    ],
)
def test_select(emitted: str, selector: str, value: Any, expected: Any) -> None:
    way = route(emitted, selector, "sink", "pin")
    assert way is not None
    assert not way.exact
    assert select(value, way.path) == expected


def test_a_name_that_only_begins_alike_is_another_pin() -> None:
    assert route("res", "result", "sink", "pin") is None
    assert route("res", "result_$_0", "sink", "pin") is None
    assert route("result", "result", "sink", "pin") == Route()


@pytest.mark.parametrize("selector", ["tools", "tools_^_websearch_~_q"])
def test_tool_calls_are_routed_by_node_and_field_alone(selector: str) -> None:
    assert route("tools_^_N_~_q", selector, "N", "q") == Route((), exact=False, argument=True)
    assert route("tools_^_N_~_q", selector, "M", "q") is None
    assert route("tools_^_N_~_q", selector, "N", "z") is None


@pytest.mark.parametrize(
    ("data", "base", "expected"),
    [
        ({"list_$_0": "a", "list_$_1": "b"}, "list", ["a", "b"]),
        ({"v_$_2": "A"}, "v", [None, None, "A"]),
        ({"d_#_k_$_0": 1, "d_#_k_$_1": 2}, "d", {"k": [1, 2]}),
        ({"v": {"x": 1}, "v_#_y": 2}, "v", {"x": 1, "y": 2}),
        ({"v_#_y": 2, "v": {"x": 1}}, "v", {"x": 1}),
        ({"v": 5, "v_#_y": 2}, "v", {"y": 2}),
        ({"v": "ab", "v_$_1": "z"}, "v", ["a", "z"]),
        ({"l": [1, 2], "l_$_0": 9}, "l", [9, 2]),
        ({"v_#_a": 2, "v_#_a_#_b": 1}, "v", {"a": {"b": 1}}),
        ({"o_@_x": 1}, "o", {"x": 1}),
        ({"v_#_": 1}, "v_#_", 1),
        ({"v": None, "v_$_0": 1}, "v", [1]),
    ],
)
def test_merge(data: dict[str, Any], base: str, expected: Any) -> None:
    merged = merge(data)
    assert merged[base] == expected
    assert all(merged[name] == value for name, value in data.items() if name != base)


@pytest.mark.parametrize("name", ["l_$_x", "l_$_-1", f"l_$_{MAX_INDEX + 1}"])
def test_indices_that_lead_nowhere(name: str) -> None:
    with pytest.raises(PathError):
        merge({name: 1})


@given(st.dictionaries(st.sampled_from(["v", "v_#_a", "v_#_b_$_0", "v_$_1", "w", "w_#_x"]), JSON))
def test_merging_changes_nothing_that_was_given(data: dict[str, Any]) -> None:
    before = repr(data)
    merge(data)
    assert repr(data) == before


@given(st.text())
def test_every_name_splits(name: str) -> None:
    base, path = split(name)
    assert base + "".join(delimiter + key for delimiter, key in path) == name
