"""Cutting values out of a document and putting them back changes nothing, whatever users call and nest things."""

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.engine.messages import NodeEnded, NodeYielded, RunAborted, ToolCalled, decode, encode
from agentplat.runs import spilling
from agentplat.runs.spilling import JOURNAL_FRAME, LIMIT, MAX_DEPTH, OUTPUTS_FRAME, Handle, cut, restored

BIG = "x" * LIMIT

encoded = msgspec.json.encode


def digest(value: Any) -> str:
    return sha256(encoded(value)).hexdigest()


def back(document: bytes, frame: int) -> bytes:
    """Through all that is stored."""
    slim = cut(document, frame)
    return restored(slim.document, spilling.decode_handles(encoded(slim.handles)), slim.blobs)


def test_what_is_within_the_limit_stays_as_it_is() -> None:
    document = encoded({"a": ["x" * (LIMIT - len(encoded({"a": [""]})))]})
    assert len(document) == LIMIT
    assert (cut(document, OUTPUTS_FRAME).document, cut(document, OUTPUTS_FRAME).handles) == (document, ())


def test_a_value_is_named_by_its_content_wherever_it_is() -> None:
    messages = [NodeYielded(1, 1, [("a", 1), ("b", BIG)]), NodeEnded(2, 2, [("c", {"d": [1, BIG]})])]
    slim = cut(encode(messages), JOURNAL_FRAME)
    assert slim.handles == [Handle([0, 3, 1, 1], digest(BIG)), Handle([1, 3, 0, 1, "d", 1], digest(BIG))]
    assert slim.blobs == {digest(BIG): encoded(BIG)}
    assert decode(slim.document) == [
        NodeYielded(1, 1, [("a", 1), ("b", None)]),
        NodeEnded(2, 2, [("c", {"d": [1, None]})]),
    ]


def test_a_value_whose_parts_are_small_is_cut_out_as_a_whole() -> None:
    value = ["x" * 1000] * 100
    slim = cut(encoded({"a": [1, value]}), OUTPUTS_FRAME)
    assert slim.handles == [Handle(["a", 1], digest(value))]
    mixed = [*value, BIG]
    slim = cut(encoded({"a": [1, mixed]}), OUTPUTS_FRAME)
    assert slim.handles == [Handle(["a", 1], digest(mixed))]
    assert list(slim.blobs) == [digest(mixed)]


def test_the_frame_stays_however_big() -> None:
    messages = [NodeEnded(number, number, [("a", "x" * 1000)]) for number in range(100)]
    assert cut(encode(messages), JOURNAL_FRAME).document == encode(messages)


def test_big_things_in_other_places_of_a_message_are_cut_out_as_well() -> None:
    messages = [ToolCalled(1, 1, "node", {"pin": BIG}, {"conversation": [BIG]}), RunAborted(2, BIG)]
    slim = cut(encode(messages), JOURNAL_FRAME)
    assert len(slim.handles) == 3
    assert len(slim.document) < 200
    assert decode(back(encode(messages), JOURNAL_FRAME)) == messages


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 200])
def test_deep_values_come_back(depth: int) -> None:
    value: Any = BIG
    for _ in range(depth):
        value = [value]
    document = encoded({"a": [value]})
    assert back(document, OUTPUTS_FRAME) == document
    slim = cut(document, OUTPUTS_FRAME)
    assert len(slim.document) < 100
    assert len(slim.handles[0].path) <= MAX_DEPTH


def test_a_missing_value_is_not_passed_over() -> None:
    slim = cut(encoded({"a": [BIG]}), OUTPUTS_FRAME)
    with pytest.raises(KeyError):
        restored(slim.document, slim.handles, {})


looks_like_a_handle = st.sampled_from(
    [None, [["a", 0], digest(BIG)], {"path": ["a", 0], "digest": digest(BIG)}, digest(BIG), BIG, BIG + '\0\x1f"\\é😀']
)
names = st.text(max_size=3) | st.sampled_from(["a", "0", digest(BIG), ""])
values = st.recursive(
    looks_like_a_handle
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(names, st.lists(values, max_size=4), max_size=4), st.integers(0, 3))
def test_every_document_comes_back_to_the_byte(outputs: dict[str, Any], frame: int) -> None:
    document = encoded(outputs)
    assert back(document, frame) == document


@given(st.lists(st.tuples(names, values), max_size=4), st.lists(st.tuples(names, values), max_size=4))
def test_every_journal_row_comes_back_to_the_byte(first: list[tuple[str, Any]], second: list[tuple[str, Any]]) -> None:
    messages = [NodeYielded(1, 1, first), NodeEnded(1, 2, second, BIG, None, {"a": BIG})]
    slim = cut(encode(messages), JOURNAL_FRAME)
    assert all(len(body) > LIMIT for body in slim.blobs.values())
    # The frame, and of each pin no more than the limit.
    assert len(slim.document) < (len(first) + len(second) + 1) * LIMIT
    assert back(encode(messages), JOURNAL_FRAME) == encode(messages)
