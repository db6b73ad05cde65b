"""Everyday parts: holding, showing and converting values."""

from enum import StrEnum
from typing import Any

from agentplat.sdk import Block, BlockType, Category, Context, Outputs, OutputSchema, Schema, convert, field


class StoreValueBlock(Block):
    """Holds a value so that other blocks can use it again and again."""

    id = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
    categories = (Category.BASIC,)
    static_output = True
    pure = True

    class Input(Schema):
        input: Any = field(description="The value to pass on. It triggers the block.")
        data: Any = field(default=None, description="A value that is passed on instead, unless it is empty.")

    class Output(OutputSchema):
        output: Any = field(description="The value held.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "output", input.data or input.input


class PrintToConsoleBlock(Block):
    """Passes a value on and says that it was shown. For trying things out."""

    id = "f3b1c1b2-4c4f-4f0d-8d2f-4c4f0d8d2f4c"
    categories = (Category.BASIC,)
    sensitive = True
    pure = True

    class Input(Schema):
        text: Any = field(description="What to show.")

    class Output(OutputSchema):
        output: Any = field(description="The same value.")
        status: str = field(description="Always 'printed'.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "output", input.text
        yield "status", "printed"


class NoteBlock(Block):
    """A note on the canvas for people to read."""

    id = "cc10ff7b-7753-4ff2-9af6-9399b1a7eddc"
    categories = (Category.BASIC,)
    block_type = BlockType.NOTE
    pure = True

    class Input(Schema):
        text: str = field(description="The note.")

    class Output(OutputSchema):
        output: str = field(description="The note.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "output", input.text


class TargetType(StrEnum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    DICTIONARY = "dictionary"


_CONVERTERS = {
    TargetType.STRING: convert.to_text,
    # A whole number becomes a float as well.
    TargetType.NUMBER: lambda value: float(convert.to_number(value)),
    TargetType.BOOLEAN: convert.to_boolean,
    TargetType.LIST: convert.to_list,
    TargetType.DICTIONARY: convert.to_object,
}


class UniversalTypeConverterBlock(Block):
    """Turns a value into text, a number, true or false, a list or an object."""

    id = "95d1b990-ce13-4d88-9737-ba5c2070c97b"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        value: Any = field(description="The value to convert.")
        type: TargetType = field(description="What to convert it to.")

    class Output(OutputSchema):
        value: Any = field(description="The converted value.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "value", _CONVERTERS[input.type](input.value)
