"""Text: filling, joining, cutting and counting it."""

from typing import Any

from agentplat.sdk import Block, Category, Context, Outputs, OutputSchema, Schema, field, templates


class FillTextTemplateBlock(Block):
    """Fills a text template with values."""

    id = "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        values: dict[str, Any] = field(description="The values by name.")
        format: str = field(description="The template (Jinja).")
        escape_html: bool = field(default=False, description="Escape HTML in the values.")

    class Output(OutputSchema):
        output: str = field(description="The text.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "output", templates.render(input.format, input.values, escape_html=input.escape_html)


class CombineTextsBlock(Block):
    """Joins texts into one."""

    id = "e30a4d42-7b7d-4e6a-b36e-1f9b8e3b7d85"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        input: list[str] = field(description="The texts, in order.")
        delimiter: str = field(default="", description="What stands between them.")

    class Output(OutputSchema):
        output: str = field(description="The joined text.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "output", input.delimiter.join(input.input)


class TextSplitBlock(Block):
    """Cuts a text at a delimiter."""

    id = "d5ea33c8-a575-477a-b42f-2fe3be5055ec"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        text: str = field(description="The text.")
        delimiter: str = field(description="Where to cut.")
        strip: bool = field(default=True, description="Remove blanks around the parts.")

    class Output(OutputSchema):
        texts: list[str] = field(description="The parts.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        parts = input.text.split(input.delimiter) if input.text else []
        yield "texts", [part.strip() for part in parts] if input.strip else parts


class TextReplaceBlock(Block):
    """Replaces a text in a text, wherever it occurs."""

    id = "7e7c87ab-3469-4bcc-9abe-67705091b713"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        text: str = field(description="The text.")
        old: str = field(description="What to replace.")
        new: str = field(description="What to put there.")

    class Output(OutputSchema):
        output: str = field(description="The changed text.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "output", input.text.replace(input.old, input.new)
