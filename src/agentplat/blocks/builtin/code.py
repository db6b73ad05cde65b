"""Code within text."""

import re
from collections.abc import Iterator

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field

# Order matters: it is the order of the outputs, and within a language the order of the parts found.
_LANGUAGES: dict[str, tuple[str, ...]] = {
    "html": ("html", "htm"),
    "css": ("css",),
    "javascript": ("javascript", "js"),
    "python": ("python", "py"),
    "sql": ("sql",),
    "java": ("java",),
    "cpp": ("cpp", "c++"),
    "csharp": ("csharp", "c#", "cs"),
    "json_code": ("json",),
    "bash": ("bash", "shell", "sh"),
    "php": ("php",),
    "ruby": ("ruby", "rb"),
    "yaml": ("yaml", "yml"),
    "markdown": ("markdown", "md"),
    "typescript": ("typescript", "ts"),
    "xml": ("xml",),
}
_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_FENCE_END = "\n```"


class CodeExtractionBlock(Block):
    """Takes the code out of an answer written in Markdown, by language."""

    id = "d3a7d896-3b78-4f44-8b4b-48fbf4f0bcd8"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        text: str = field(description="The text with fenced code.")

    class Output(OutputSchema):
        html: str = field(description="HTML.")
        css: str = field(description="CSS.")
        javascript: str = field(description="JavaScript.")
        python: str = field(description="Python.")
        sql: str = field(description="SQL.")
        java: str = field(description="Java.")
        cpp: str = field(description="C++.")
        csharp: str = field(description="C#.")
        json_code: str = field(description="JSON.")
        bash: str = field(description="Shell.")
        php: str = field(description="PHP.")
        ruby: str = field(description="Ruby.")
        yaml: str = field(description="YAML.")
        markdown: str = field(description="Markdown.")
        typescript: str = field(description="TypeScript.")
        xml: str = field(description="XML.")
        remaining_text: str = field(description="The text without the code.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        remaining = input.text
        for language, aliases in _LANGUAGES.items():
            found: list[str] = []
            for alias in aliases:
                found += [input.text[start:end].strip() for _, start, end in _fences(input.text, alias, re.IGNORECASE)]
                remaining = _without_fences(remaining, alias)
            if found:
                yield language, "\n\n".join(found)
        remaining = _BLANK_LINES.sub("\n", remaining.strip())
        if remaining:
            yield "remaining_text", remaining


def _fences(text: str, alias: str, flags: int = 0) -> Iterator[tuple[int, int, int]]:
    """Of every fenced part: where the fence opens, where the code begins and where it ends.

    One expression for a whole part would look for the end anew from every opening.
    """
    opening = re.compile(rf"```{re.escape(alias)}[^\S\n]*\n", flags)
    at = 0
    while match := opening.search(text, at):
        end = text.find(_FENCE_END, match.end())
        if end < 0:
            return
        yield match.start(), match.end(), end
        at = end + len(_FENCE_END)


def _without_fences(text: str, alias: str) -> str:
    kept: list[str] = []
    at = 0
    for opening, _, end in _fences(text, alias):
        kept.append(text[at:opening])
        at = end + len(_FENCE_END)
    return "".join((*kept, text[at:]))


_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.)|$)", re.DOTALL)
_SIMPLE_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    '"': '"',
    "'": "'",
    "\\": "\\",
    "\n": "",
}


class TextDecoderBlock(Block):
    r"""Turns escapes such as `\n` into the characters they stand for."""

    id = "2570e8fe-8447-43ed-84c7-70d657923231"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        text: str = field(description="The text with escapes.")

    class Output(OutputSchema):
        decoded_text: str = field(description="The text without them.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        # The AutoGPT Platform contract decodes bytes here, so letters beyond ASCII come out as their UTF-8 bytes.
        yield "decoded_text", _ESCAPE.sub(_unescape, input.text.encode().decode("latin-1"))


def _unescape(match: re.Match[str]) -> str:
    if code := match[1] or match[2] or match[3]:
        try:
            return chr(int(code, 16))
        except (ValueError, OverflowError):
            raise BlockError(f"There is no character with the number {code}.") from None
    if match[4] is None:
        raise BlockError("The text ends within an escape.")
    return _SIMPLE_ESCAPES.get(match[4], match[0])


class WordCharacterCountBlock(Block):
    """Counts the words and characters of a text."""

    id = "ab2a782d-22cf-4587-8a70-55b59b3f9f90"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        text: str = field(description="The text.")

    class Output(OutputSchema):
        error: str = field(description="What went wrong, if something did.")
        word_count: int = field(description="How many words.")
        character_count: int = field(description="How many characters.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "word_count", len(input.text.split())
        yield "character_count", len(input.text)
