"""Conversations that are too long."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentplat.blocks.builtin.llm_compression import compressed
from agentplat.blocks.builtin.llm_messages import OBJECTIVE, message_tokens

RESERVE = 2048


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def words(count: int) -> str:
    return " ".join(f"word{number}" for number in range(count))


def size(messages: Any) -> int:
    return sum(map(message_tokens, messages))


CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]}
ANSWER = {"role": "tool", "tool_call_id": "c", "content": words(3000)}


def test_what_fits_is_left_alone() -> None:
    messages = [user("a"), user("b")]
    assert compressed(messages, RESERVE + size(messages)) == messages
    assert compressed([], 0) == []


def test_the_middle_gives_way_first() -> None:
    messages = [user(words(500)), user(words(3000)), user(words(500))]
    found = compressed(messages, RESERVE + 4000)
    assert (found[0], found[2]) == (messages[0], messages[2])
    shortened = found[1]["content"]
    assert shortened.startswith("word0 ")
    assert shortened.endswith("word2999")
    assert size(found) <= 4000


def test_objectives_calls_and_their_answers_stay() -> None:
    messages = [user("first"), user(OBJECTIVE + words(50)), *[user(words(200))] * 20, CALL, ANSWER, user("last")]
    found = compressed(messages, RESERVE + 800)
    assert size(found) <= 800
    assert found[1] == messages[1]
    assert CALL in found
    assert [message["tool_call_id"] for message in found if message["role"] == "tool"] == ["c"]
    assert len(found[-2]["content"]) < len(str(ANSWER["content"]))


def test_messages_go_from_the_centre() -> None:
    messages = [user(f"{number} {words(60)}") for number in range(9)]
    kept = [message["content"].split()[0] for message in compressed(messages, RESERVE + size(messages[:6]))]
    assert kept == ["0", "1", "2", "6", "7", "8"]


def test_the_ends_are_cut_last() -> None:
    found = compressed([user(words(5000)), user("middle"), user(words(5000))], RESERVE + 700)
    assert [len(found), size(found) <= 700] == [2, True]


def test_what_is_no_text_becomes_text_in_the_middle() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": words(3000)}]}
    found = compressed([user("a"), parts, user("b")], RESERVE + 1500)
    assert isinstance(found[1]["content"], str)


contents = st.one_of(st.text(max_size=300), st.lists(st.fixed_dictionaries({"text": st.text(max_size=50)}), max_size=3))
messages_ = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "tool"]), "content": contents}), max_size=8
)


@given(messages_, st.integers(0, 4000))
def test_it_never_grows_and_never_changes_what_it_was_given(messages: list[dict[str, Any]], target: int) -> None:
    before = json.dumps(messages)
    found = compressed(messages, target)
    assert json.dumps(messages) == before
    assert len(found) <= len(messages)
    assert not messages or found
