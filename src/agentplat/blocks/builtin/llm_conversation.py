"""Conversations with tools in them: what a model was asked, what it called, what that gave."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from agentplat.blocks.builtin.llm_call import Reply
from agentplat.blocks.builtin.llm_messages import OBJECTIVE, Message, is_objective
from agentplat.sdk import BlockError
from agentplat.sdk.tools import pending_calls

_ANTHROPIC_CALL = "toolu_"


def continued(history: Iterable[Message], output: Any) -> list[Message]:
    """The conversation with the answer of its first call that waits for one. Raises BlockError if there is no answer.

    An output that nobody waits for is told as news.
    """
    messages = [message for message in history if message]
    pending = pending_calls(messages)
    if pending and output is None:
        raise BlockError("The conversation waits for what a tool answered, but 'last_tool_output' has nothing.")
    if output is None:
        return messages
    if pending:
        return [*messages, tool_answer(pending[0], output)]
    return [*messages, {"role": "user", "content": f"A tool answered: {_text(output)}"}]


def tool_answer(call_id: str, output: Any) -> dict[str, Any]:
    """What a tool gave, in the form of the provider that asked for it."""
    text = _text(output)
    if call_id.startswith(_ANTHROPIC_CALL):
        part = {"tool_use_id": call_id, "type": "tool_result", "content": text}
        return {"role": "user", "type": "message", "content": [part]}
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def combined(answers: Sequence[dict[str, Any]]) -> list[Message]:
    """The answers of several calls. Anthropic wants its own in one message."""
    parts = [part for answer in answers if answer["role"] == "user" for part in answer["content"]]
    others: list[Message] = [answer for answer in answers if answer["role"] != "user"]
    return [{"role": "user", "type": "message", "content": parts}, *others] if parts else others


def with_objective(messages: list[Message], sys_prompt: str, prompt: str) -> list[Message]:
    """The conversation with what it is about, unless that is in it."""
    texts = {"system": sys_prompt, "user": prompt}
    missing = [
        {"role": role, "content": OBJECTIVE + text}
        for role, text in texts.items()
        if text and not any(message.get("role") == role and is_objective(message) for message in messages)
    ]
    return [*messages, *missing]


def spoken(reply: Reply) -> list[Message]:
    """What a model said, as it stands in the conversation: its thoughts, if it shows them, and its message."""
    message: Message = {"content": None, **reply.message}
    if not reply.reasoning:
        return [message]
    return [{"role": "assistant", "content": f"[Reasoning]: {reply.reasoning}"}, message]


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, separators=(",", ":"), ensure_ascii=False)
