"""Regular expressions that anybody may write.

Some patterns take longer than the universe to fail. So every search has a time limit: it starts on the event loop,
where nearly all end at once, and one that has not ended within milliseconds is done over in a thread without a lock.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

import regex

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field

_T = TypeVar("_T")
_FIRST_TRY_SECONDS = 0.02
_LIMIT_SECONDS = 5.0
_MAX_TEXT = 1_000_000
_MAX_MATCHES = 1_000
_MAX_MATCH = 10_000


class MatchTextPatternBlock(Block):
    """Sends a value one way if a text matches a pattern, and another way if not."""

    id = "3060088f-6ed9-4928-9ba7-9c92823a7ccd"
    categories = (Category.TEXT,)
    pure = True
    inline = False

    class Input(Schema):
        text: Any = field(description="The text; other values are read as JSON text.")
        match: str = field(description="The pattern, a regular expression.")
        data: Any = field(description="What to send on. If empty: the text.")
        case_sensitive: bool = field(default=True, description="Small and capital letters differ.")
        dot_all: bool = field(default=True, description="A dot matches line breaks too.")

    class Output(OutputSchema):
        positive: Any = field(description="Emitted when the pattern occurs.")
        negative: Any = field(description="Emitted when it does not.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        pattern = _compile(input.match, input.case_sensitive, input.dot_all)
        text = _as_text(input.text)
        try:
            found = await _limited(lambda seconds: pattern.search(text, timeout=seconds, concurrent=True) is not None)
        except TimeoutError:
            raise BlockError(f"The search took longer than {_LIMIT_SECONDS:g} seconds.") from None
        yield "positive" if found else "negative", input.data or input.text


class ExtractTextInformationBlock(Block):
    """Takes out of a text what matches a pattern."""

    id = "3146e4fe-2cdd-4f29-bd12-0c9d5bb4deb0"
    categories = (Category.TEXT,)
    pure = True
    inline = False

    class Input(Schema):
        text: Any = field(description="The text; other values are read as JSON text.")
        pattern: str = field(description="The pattern, a regular expression.")
        group: int = field(default=0, description="Which group of the pattern to take; 0 is all of it.")
        case_sensitive: bool = field(default=True, description="Small and capital letters differ.")
        dot_all: bool = field(default=True, description="A dot matches line breaks too.")
        find_all: bool = field(default=False, description="Take every match, not only the first.")

    class Output(OutputSchema):
        positive: str = field(description="A match.")
        negative: str = field(description="The text, when nothing matches.")
        matched_results: list[str] = field(description="All matches.")
        matched_count: int = field(description="How many there are.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        text = _as_text(input.text)
        found = await _extract(input, text[:_MAX_TEXT])
        for match in found:
            yield "positive", match
        if not found:
            yield "negative", text
        yield "matched_results", found
        yield "matched_count", len(found)


async def _extract(input: ExtractTextInformationBlock.Input, text: str) -> list[str]:
    """The matches. A pattern that is wrong, or takes too long, matches nothing."""
    limit = _MAX_MATCHES if input.find_all else 1

    def search(seconds: float) -> list[str]:
        pattern = _compile(input.pattern, input.case_sensitive, input.dot_all)
        found: list[str] = []
        if 0 <= input.group <= pattern.groups:
            for match in pattern.finditer(text, timeout=seconds, concurrent=True):
                group = match.group(input.group)
                if group is None:
                    return []
                found.append(group[:_MAX_MATCH])
                if len(found) == limit:
                    break
        return found

    try:
        return await _limited(search)
    except (TimeoutError, BlockError):
        return []


async def _limited(search: Callable[[float], _T]) -> _T:
    try:
        return search(_FIRST_TRY_SECONDS)
    except TimeoutError:
        return await asyncio.to_thread(search, _LIMIT_SECONDS)


def _compile(pattern: str, case_sensitive: bool, dot_all: bool) -> "regex.Pattern[str]":
    flags = (0 if case_sensitive else regex.IGNORECASE) | (regex.DOTALL if dot_all else 0)
    try:
        return regex.compile(pattern, flags)
    except (regex.error, OverflowError, RecursionError) as error:
        raise BlockError(f"The pattern is not a regular expression: {error}") from error


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
