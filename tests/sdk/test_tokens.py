import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.sdk import tokens


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("hello world", 2), ("12345", 2), ('{"k":"v"}', 5), ("<|endoftext|>", 7)]
)
def test_known_counts(text: str, expected: int) -> None:
    assert tokens.count(text) == expected


@given(st.text())
def test_at_most_a_token_per_byte(text: str) -> None:
    assert tokens.count(text) <= len(text.encode())
    assert (tokens.count(text) == 0) == (text == "")
