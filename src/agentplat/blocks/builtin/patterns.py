"""Regular expressions that anybody may write.

Some patterns take longer than the universe to fail, and a short one can take seconds merely to be compiled. So both are
done in a process of their own, where a search has a time limit and the rest meets the limits of the process.
"""

import json
from typing import Any

import regex

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field

_LIMIT_SECONDS = 5.0
# For the search and everything else.
_ALL_SECONDS = 20.0
_MAX_TEXT = 1_000_000
_MAX_MATCHES = 1_000
_MAX_MATCH = 10_000


class MatchTextPatternBlock(Block):
    """Sends a value one way if a text matches a pattern, and another way if not."""

    id = "3060088f-6ed9-4928-9ba7-9c92823a7ccd"
    categories = (Category.TEXT,)
    pure = True
    isolated = True
    timeout = _ALL_SECONDS

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
            found = pattern.search(text, timeout=_LIMIT_SECONDS) is not None
        except TimeoutError:
            raise BlockError(f"The search took longer than {_LIMIT_SECONDS:g} seconds.") from None
        yield "positive" if found else "negative", input.data or input.text


class ExtractTextInformationBlock(Block):
    """Takes out of a text what matches a pattern."""

    id = "3146e4fe-2cdd-4f29-bd12-0c9d5bb4deb0"
    categories = (Category.TEXT,)
    pure = True
    isolated = True
    timeout = _ALL_SECONDS

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
        found = _extract(input, text[:_MAX_TEXT])
        for match in found:
            yield "positive", match
        if not found:
            yield "negative", text
        yield "matched_results", found
        yield "matched_count", len(found)


def _extract(input: ExtractTextInformationBlock.Input, text: str) -> list[str]:
    """The matches. A pattern that is wrong, or takes too long, matches nothing."""
    limit = _MAX_MATCHES if input.find_all else 1
    found: list[str] = []
    try:
        pattern = _compile(input.pattern, input.case_sensitive, input.dot_all)
        if 0 <= input.group <= pattern.groups:
            for match in pattern.finditer(text, timeout=_LIMIT_SECONDS):
                group = match.group(input.group)
                if group is None:
                    return []
                found.append(group[:_MAX_MATCH])
                if len(found) == limit:
                    break
    except (TimeoutError, BlockError):
        return []
    return found


def _compile(pattern: str, case_sensitive: bool, dot_all: bool) -> "regex.Pattern[str]":
    flags = (0 if case_sensitive else regex.IGNORECASE) | (regex.DOTALL if dot_all else 0)
    try:
        return regex.compile(pattern, flags)
    except (regex.error, OverflowError, RecursionError) as error:
        raise BlockError(f"The pattern is not a regular expression: {error}") from error


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
