import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.server.errors import MAX_NESTING
from agentplat.server.request import is_too_deep


def nested(levels: int, inner: str = "1") -> bytes:
    half = levels // 2
    return ("[" * half + '{"a":' * (levels - half) + inner + "}" * (levels - half) + "]" * half).encode()


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (nested(MAX_NESTING), False),
        (nested(MAX_NESTING + 1), True),
        (nested(100_000), True),
        (b"[" + b"[]," * 10_000 + b"{}]", False),
        (json.dumps(["[" * 10_000, '"[{\\"', "\\", '\\"{' * 200]).encode(), False),
        (nested(MAX_NESTING + 1, json.dumps("\\")), True),
        (b"", False),
    ],
)
def test_only_nesting_counts(body: bytes, expected: bool) -> None:
    assert is_too_deep(body) == expected


TEXT = st.text(alphabet='[]{}"\\a\n', max_size=8)
JSON = st.recursive(TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@given(JSON, st.sampled_from([MAX_NESTING - 3, MAX_NESTING - 2, MAX_NESTING - 1, MAX_NESTING]))
def test_texts_never_mislead(value: Any, levels: int) -> None:
    body = nested(levels, json.dumps(value))
    assert is_too_deep(body) == (levels + depth(value) > MAX_NESTING)
