"""Making a conversation shorter, so that it leaves a model room to answer.

What is said first and last matters most, and a tool's call without its answer (or the other way round) is refused by
every provider. So the middle goes first, bit by bit, until the rest fits: what is no text becomes text, long texts lose
their middles, messages go from the centre outwards, and only then the first and the last one are cut.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agentplat.blocks.builtin.llm_messages import Message, is_objective, is_tool_message, message_tokens
from agentplat.sdk import tokens

# Left free within the target, because counts are estimates.
_RESERVE = 2048
_CAPS = (8192, 4096, 2048, 1024, 512, 256, 128)
_MAX_FLATTENED = 20_000
_ELLIPSIS = " … "

Count = Callable[[Message], int]


def compressed(messages: Sequence[Message], target: int) -> list[Message]:
    """The conversation in at most `target` tokens, as far as that can be done."""
    found = list(messages)
    count = _counter()
    if sum(map(count, found)) + _RESERVE <= target:
        return found
    for shorter in _steps(found, count):
        found = shorter
        if sum(map(count, found)) + _RESERVE <= target:
            break
    return found


def _counter() -> Count:
    """Counts each message once: most of them stay the same from step to step."""
    # The messages are kept as well, because an id is free to be another one's as soon as its owner is gone.
    known: dict[int, tuple[Message, int]] = {}

    def count(message: Message) -> int:
        if (found := known.get(id(message))) is None:
            found = known[id(message)] = (message, message_tokens(message))
        return found[1]

    return count


def _steps(messages: list[Message], count: Count) -> Iterator[list[Message]]:
    """Ever shorter conversations."""
    if len(messages) > 2:
        messages = [messages[0], *map(_flattened, messages[1:-1]), messages[-1]]
        yield messages
        for cap in _CAPS:
            messages = [messages[0], *(_cut(message, cap, count) for message in messages[1:-1]), messages[-1]]
            yield messages
        while (victim := _nearest_the_centre(messages)) is not None:
            messages = [*messages[:victim], *messages[victim + 1 :]]
            yield messages
    for cap in _CAPS:
        first, last = ([_cut(message, cap, count) for message in end] for end in (messages[:1], messages[1:][-1:]))
        messages = [*first, *messages[1:-1], *last]
        yield messages


def _flattened(message: Message) -> Message:
    content = message.get("content")
    if content is None or isinstance(content, str) or is_tool_message(message):
        return message
    return {**message, "content": _shortened(json.dumps(content, separators=(",", ":")), _MAX_FLATTENED)}


def _cut(message: Message, cap: int, count: Count) -> Message:
    """The message without its middle, if it is longer than `cap` tokens. Calls stay whole: they are JSON."""
    content = message.get("content")
    if is_objective(message) or count(message) <= cap:
        return message
    if isinstance(content, str):
        return {**message, "content": _shortened(content, cap)}
    if not isinstance(content, list):
        return message
    return {**message, "content": [_cut_part(part, cap) for part in content]}


def _cut_part(part: Any, cap: int) -> Any:
    if isinstance(part, dict) and part.get("type") == "tool_result" and isinstance(part.get("content"), str):
        return {**part, "content": _shortened(part["content"], cap)}
    return part


def _shortened(text: str, cap: int) -> str:
    """About `cap` tokens of the text, from its beginning and its end."""
    size = tokens.count(text)
    if size <= cap:
        return text
    kept = max(1, len(text) * cap // size // 2)
    return text[:kept] + _ELLIPSIS + text[-kept:]


def _nearest_the_centre(messages: list[Message]) -> int | None:
    """The middle message that goes next."""
    centre = len(messages) // 2
    removable = [
        index
        for index in range(1, len(messages) - 1)
        if not is_tool_message(messages[index]) and not is_objective(messages[index])
    ]
    return min(removable, key=lambda index: abs(index - centre), default=None)
