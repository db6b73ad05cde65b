"""Nodes that a block can call: those that its `tools` pin is wired to."""

from typing import Any

from msgspec import Struct

CONVERSATION_PIN = "conversation_history"
RESULT_PIN = "last_tool_output"


class ToolPin(Struct, frozen=True, kw_only=True):
    """One input of a tool.

    `name` may carry a path into the declared pin `base`, whose JSON Schema is `schema`: None where nothing declares it.
    """

    name: str
    base: str
    schema: dict[str, Any] | None = None
    required: bool = False

    @property
    def is_dynamic(self) -> bool:
        return self.name != self.base


class Tool(Struct, frozen=True, kw_only=True):
    """A node that can be called. Of its inputs it has those that are wired to the caller.

    `agent` is the id and version of the graph that the node runs, if it runs one.
    """

    node_id: str
    name: str
    description: str
    pins: tuple[ToolPin, ...]
    agent: tuple[str, int] | None = None


def pending_calls(conversation: Any) -> list[str]:
    """The ids of the tool calls in a conversation that have no answer yet, in order.

    Knows the messages of OpenAI (`tool_calls`, role `tool`) and of Anthropic (`tool_use`, `tool_result`). What is no
    message counts for nothing: conversations come from outside.
    """
    pending: list[str] = []
    for message in conversation if isinstance(conversation, list) else ():
        if not isinstance(message, dict):
            continue
        for call_id in _asked(message):
            pending.append(call_id)
        for call_id in _answered(message):
            if call_id in pending:
                pending.remove(call_id)
    return pending


def _asked(message: dict[str, Any]) -> list[str]:
    if message.get("role") != "assistant":
        return []
    calls = [*_objects(message.get("tool_calls")), *_parts(message, "tool_use")]
    return [str(call["id"]) for call in calls if call.get("id")]


def _answered(message: dict[str, Any]) -> list[str]:
    if message.get("role") == "tool":
        return [str(message.get("tool_call_id"))]
    if message.get("role") == "user":
        return [str(part.get("tool_use_id")) for part in _parts(message, "tool_result")]
    return []


def _parts(message: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [part for part in _objects(message.get("content")) if part.get("type") == kind]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
