"""The messages of a conversation with a model: what kinds there are, and how long they are."""

import json
from collections.abc import Mapping
from typing import Any

from agentplat.sdk import tokens

Message = Mapping[str, Any]

# Marks what a conversation is about, so that it is said once, however often the conversation comes back.
OBJECTIVE = "[Main Objective Prompt]: "


def is_objective(message: Message) -> bool:
    content = message.get("content")
    return isinstance(content, str) and content.startswith(OBJECTIVE)


def is_tool_message(message: Message) -> bool:
    """Whether it calls tools or answers calls."""
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return (
        message.get("role") == "tool"
        or bool(message.get("tool_calls"))
        or any(isinstance(part, dict) and part.get("type") in ("tool_use", "tool_result") for part in parts)
    )


def message_tokens(message: Message) -> int:
    content = message.get("content") or ""
    count = 4 if "name" in message else 3
    if isinstance(content, str):
        count += tokens.count(content)
    else:
        count += sum(_part_tokens(part) for part in content)
    for tool_call in message.get("tool_calls") or ():
        function = tool_call.get("function", {})
        texts = (tool_call.get("id"), tool_call.get("type"), function.get("name"), function.get("arguments"))
        count += sum(tokens.count(text) for text in texts if text)
    return count


def _part_tokens(part: Any) -> int:
    if not isinstance(part, dict):
        return tokens.count(str(part))
    values = (part.get(key) for key in ("id", "name", "input", "tool_use_id", "content", "text"))
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values if value)
    return sum(tokens.count(text) for text in texts)
