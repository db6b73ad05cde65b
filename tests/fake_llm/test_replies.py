from typing import Any

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st

from agentplat.fake_llm.replies import example, reply

contents = st.text(max_size=200)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": contents}), max_size=5
)

scalars = st.sampled_from(
    [{"type": kind} for kind in ("string", "integer", "number", "boolean", "null")] + [{"enum": ["a", 1]}, {"const": 2}]
)
schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 2}),
        inner.map(lambda member: {"anyOf": [member, {"type": "null"}]}),
        st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
        ),
    ),
    max_leaves=8,
)


@given(messages, st.integers(1, 50))
def test_pieces_are_the_answer_and_the_answer_is_stable(asked: list[dict[str, Any]], length: int) -> None:
    first = reply(asked, length=length)
    assert first == reply(asked, length=length)
    assert all(first.pieces)
    assert first.text == "".join(first.pieces)


@given(contents)
def test_dictated_text_comes_back_whole(text: str) -> None:
    text = text.replace("]", "").strip()
    answer = reply([{"role": "user", "content": f"[[reply: {text}]]"}], length=3)
    assert answer.text == text


@given(schemas, st.text(max_size=20))
def test_example_fits_its_schema(schema: dict[str, Any], text: str) -> None:
    assert jsonschema_rs.is_valid(schema, example(schema, text, "ab12"))


TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]


def test_dictated_calls_come_back_as_they_are() -> None:
    """Also wrong ones: how callers cope with those is what they are dictated for."""
    asked = [{"role": "user", "content": '[[tool: b {"q": [1]}]] and [[tool: nonsense {"q"]] and [[tool: a]]'}]
    answer = reply(asked, length=3, tools=TOOLS)
    functions = [call["function"] for call in answer.tool_calls]
    assert [(function["name"], function["arguments"]) for function in functions] == [
        ("b", '{"q": [1]}'),
        ("nonsense", '{"q"'),
        ("a", "{}"),
    ]
    assert len({call["id"] for call in answer.tool_calls}) == 3
    assert answer.finish_reason == "tool_calls"


def test_dictated_text_is_said_instead_of_a_call_or_after_it() -> None:
    text: list[dict[str, Any]] = [{"role": "user", "content": "[[reply: done]]"}]
    call: list[dict[str, Any]] = [{"role": "user", "content": "[[tool: a {}]] [[reply: done]]"}]
    answered = [*call, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    assert reply(text, length=3, tools=TOOLS).text == reply(answered, length=3, tools=TOOLS).text == "done"
    assert reply(call, length=3, tools=TOOLS).tool_calls
