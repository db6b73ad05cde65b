"""What the fake model answers: always the same to the same conversation, and shaped by what was asked for."""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from agentplat.sdk import tokens

Message = Mapping[str, Any]

_WORDS = (
    *("a", "agent", "answer", "block", "calm", "clear", "code", "data", "day", "event", "fast", "field"),
    *("graph", "hand", "idea", "input", "journal", "key", "link", "list", "model", "name", "node", "open"),
    *("output", "page", "path", "plan", "point", "queue", "quick", "result", "run", "small", "start", "state"),
    *("step", "stream", "test", "text", "time", "tool", "value", "watch", "way", "word", "work"),
)
# `[[reply: some text]]` in the last user message is answered with that text.
_DICTATED = re.compile(r"\[\[reply:\s*(.*?)\]\]", re.DOTALL)
# `[[tool: name {"some": "arguments"}]]` is answered with that call, and several of them with several calls. What
# stands for arguments is passed on as it is, JSON or not.
_CALLED = re.compile(r"\[\[tool:\s*(\S+?)(?:\s+(.*?))?\s*\]\]", re.DOTALL)
_PIECE = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+")
_QUOTED_CHARACTERS = 60


class Reply(Struct, frozen=True, kw_only=True):
    """Either text, as the pieces in which it is streamed, or calls of tools."""

    pieces: tuple[str, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str = "stop"

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def reply(
    messages: Sequence[Message],
    *,
    length: int,
    limit: int | None = None,
    json_mode: Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
    tool_choice: Any = None,
) -> Reply:
    """Answer a conversation with `length` pieces of text, or with a call where tools are offered.

    A tool is called once; when its result is the last message, the answer is text. So it is when the last user message
    dictates text and no call.
    """
    seed = digest(messages)
    offered = _offered(tools, tool_choice)
    if offered and messages and messages[-1].get("role") != "tool":
        asked = _asked(messages)
        if dictated := _CALLED.findall(asked):
            calls = [_call(name, arguments or "{}", seed, at) for at, (name, arguments) in enumerate(dictated)]
            return Reply(tool_calls=tuple(calls), finish_reason="tool_calls")
        if not _DICTATED.search(asked):
            return Reply(tool_calls=(_tool_call(offered[0], seed),), finish_reason="tool_calls")
    if json_mode is not None:
        schema = json_mode.get("json_schema", {}).get("schema") or {"properties": {"answer": {"type": "string"}}}
        pieces = _pieces(json.dumps(example(schema, _text(messages, seed, length), seed)))
    else:
        pieces = _pieces(_text(messages, seed, length))
    if limit is not None and limit < len(pieces):
        return Reply(pieces=pieces[:limit], finish_reason="length")
    return Reply(pieces=pieces)


def digest(messages: Sequence[Message]) -> str:
    return hashlib.sha256(json.dumps(list(messages), sort_keys=True).encode()).hexdigest()


def prompt_tokens(messages: Sequence[Message]) -> int:
    return sum(3 + tokens.count(content_text(message.get("content"))) for message in messages)


def content_text(content: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def example(schema: Mapping[str, Any], text: str, seed: str) -> Any:
    """A value that fits a JSON Schema."""
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return options[int(seed, 16) % len(options)]
    for combined in ("anyOf", "oneOf", "allOf"):
        if members := schema.get(combined):
            return example(members[0], text, seed)
    match schema.get("type", "object" if "properties" in schema else "string"):
        case "object":
            properties = schema.get("properties", {})
            return {name: example(property_schema, text, seed) for name, property_schema in properties.items()}
        case "array":
            return [example(schema.get("items") or {}, text, seed)] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            return schema.get("minimum", int(seed, 16) % 10)
        case "boolean":
            return int(seed, 16) % 2 == 0
        case "null":
            return None
        case _:
            return text


def _offered(tools: Sequence[Mapping[str, Any]], choice: Any) -> list[Mapping[str, Any]]:
    functions = [tool["function"] for tool in tools if tool.get("type") == "function"]
    if choice == "none":
        return []
    if isinstance(choice, dict):
        wanted = choice.get("function", {}).get("name")
        return [function for function in functions if function.get("name") == wanted]
    return functions


def _tool_call(function: Mapping[str, Any], seed: str) -> dict[str, Any]:
    arguments = example(function.get("parameters") or {"type": "object"}, "value", seed)
    return _call(function.get("name", ""), json.dumps(arguments), seed, 0)


def _call(name: str, arguments: str, seed: str, number: int) -> dict[str, Any]:
    call_id = f"call_{seed[:24]}" + (f"_{number}" if number else "")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _asked(messages: Sequence[Message]) -> str:
    return next((content_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")


def _text(messages: Sequence[Message], seed: str, length: int) -> str:
    asked = _asked(messages)
    if dictated := _DICTATED.search(asked):
        return dictated[1].strip()
    quote = " ".join(asked.split())[:_QUOTED_CHARACTERS]
    words = f"About {quote}:".split(" ") if quote else ["Hello:"]
    chosen = random.Random(seed).choices(_WORDS, k=max(0, length - len(words)))
    return " ".join([*words, *chosen][: max(1, length)])


def _pieces(text: str) -> tuple[str, ...]:
    """Words with the blanks before them: about a token each, and together the text."""
    return tuple(_PIECE.findall(text))
