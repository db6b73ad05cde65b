"""Deciding, repeating, calculating."""

import json
import math
import operator
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, convert, field

_MAX_ITEMS = 10_000
_MAX_TEXT = 1_048_576


class Comparison(StrEnum):
    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER = ">"
    LESS = "<"
    GREATER_OR_EQUAL = ">="
    LESS_OR_EQUAL = "<="


_COMPARE = {
    Comparison.EQUAL: operator.eq,
    Comparison.NOT_EQUAL: operator.ne,
    Comparison.GREATER: operator.gt,
    Comparison.LESS: operator.lt,
    Comparison.GREATER_OR_EQUAL: operator.ge,
    Comparison.LESS_OR_EQUAL: operator.le,
}


class ConditionBlock(Block):
    """Compares two values and continues on one of two ways. Text that reads as a number counts as that number."""

    id = "715696a0-e1da-45c8-b209-c2fa9c3b0be6"
    categories = (Category.LOGIC,)
    pure = True

    class Input(Schema):
        value1: Any = field(description="The left side.")
        operator: Comparison = field(description="How to compare.")
        value2: Any = field(description="The right side.")
        yes_value: Any = field(default=None, description="What to emit when true. Left out: the left side.")
        no_value: Any = field(default=None, description="What to emit when false. Left out: the right side.")

    class Output(OutputSchema):
        result: bool = field(description="Whether the comparison holds.")
        yes_output: Any = field(description="Emitted when it holds.")
        no_output: Any = field(description="Emitted when it does not.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        left, right = _operand(input.value1), _operand(input.value2)
        try:
            result = bool(_COMPARE[input.operator](left, right))
        except TypeError as error:
            raise BlockError(f"These values cannot be compared with {input.operator}: {error}") from error
        yield "result", result
        if result:
            yield "yes_output", left if input.yes_value is None else input.yes_value
        else:
            yield "no_output", right if input.no_value is None else input.no_value


def _operand(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value.strip()


class IfInputMatchesBlock(Block):
    """Tells whether a value equals another, after converting the other to its type."""

    id = "6dbbc4b3-ca6c-42b6-b508-da52d23e13f2"
    categories = (Category.LOGIC,)
    pure = True

    class Input(Schema):
        input: Any = field(description="The value to look at.")
        value: Any = field(description="What it should equal.")
        yes_value: Any = field(default=None, description="What to emit when it does.")
        no_value: Any = field(default=None, description="What to emit when it does not.")

    class Output(OutputSchema):
        result: bool = field(description="Whether they are equal.")
        yes_output: Any = field(description="Emitted when they are.")
        no_output: Any = field(description="Emitted when they are not.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.input == input.value or input.input == _like(input.input, input.value):
            yield "result", True
            yield "yes_output", input.yes_value
        else:
            yield "result", False
            yield "no_output", input.no_value


def _like(example: Any, value: Any) -> Any:
    """`value` converted to the type of `example`."""
    match example:
        case bool():
            return convert.to_boolean(value)
        case int():
            return convert.to_integer(value)
        case float():
            return convert.to_number(value)
        case str():
            return convert.to_text(value)
        case list():
            return convert.to_list(value)
        case dict():
            return convert.to_object(value)
        case _:
            return value


class StepThroughItemsBlock(Block):
    """Emits the items of a list, of an object or of JSON text one by one."""

    id = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
    categories = (Category.LOGIC,)
    pure = True

    class Input(Schema):
        items: list[Any] = field(default_factory=list, advanced=False, description="A list.")
        items_object: dict[str, Any] = field(default_factory=dict, advanced=False, description="An object.")
        items_str: str = field(default="", advanced=False, description="A list or an object as JSON text.")

    class Output(OutputSchema):
        item: Any = field(description="The next item.")
        key: Any = field(description="Its position in the list, or its key in the object.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for source in (input.items, input.items_object, _parse_items(input.items_str)):
            for key, item in _entries(source):
                yield "item", item
                yield "key", key


def _parse_items(text: str) -> Any:
    if not text:
        return []
    if len(text) > _MAX_TEXT:
        raise BlockError(f"The text is longer than {_MAX_TEXT} characters.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise BlockError(f"The text is not JSON: {error}") from error


def _entries(source: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(source, (list, dict, str)):
        raise BlockError(f"There are no items in {json.dumps(source)}.")
    if len(source) > _MAX_ITEMS:
        raise BlockError(f"More than {_MAX_ITEMS} items.")
    return source.items() if isinstance(source, dict) else enumerate(source)


class Operation(StrEnum):
    ADD = "Add"
    SUBTRACT = "Subtract"
    MULTIPLY = "Multiply"
    DIVIDE = "Divide"
    POWER = "Power"


_CALCULATE = {
    Operation.ADD: operator.add,
    Operation.SUBTRACT: operator.sub,
    Operation.MULTIPLY: operator.mul,
    Operation.DIVIDE: operator.truediv,
    Operation.POWER: operator.pow,
}


class CalculatorBlock(Block):
    """Calculates with two numbers."""

    id = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
    categories = (Category.LOGIC,)
    pure = True

    class Input(Schema):
        operation: Operation = field(description="What to calculate.")
        a: float = field(description="The first number.")
        b: float = field(description="The second number.")
        round_result: bool = field(default=False, description="Round to a whole number; halves go to the even one.")

    class Output(OutputSchema):
        result: float = field(description="The result.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "result", _calculate(input.operation, input.a, input.b, input.round_result)


def _calculate(operation: Operation, a: float, b: float, rounded: bool) -> float:
    try:
        result = _CALCULATE[operation](a, b)
        if isinstance(result, complex):
            raise BlockError("A negative number to this power is not a real number.")
        return round(result) if rounded else float(result)
    except ZeroDivisionError:
        return math.inf
    except ArithmeticError:
        return math.nan


class CountItemsBlock(Block):
    """Counts the items of a list or object, or the characters of a text."""

    id = "3c9c2f42-b0c3-435f-ba35-05f7a25c772a"
    categories = (Category.LOGIC,)
    pure = True

    class Input(Schema):
        collection: Any = field(description="What to count in.")

    class Output(OutputSchema):
        count: int = field(description="How many; -1 for what has no items.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        countable = isinstance(input.collection, (str, list, dict))
        yield "count", len(input.collection) if countable else -1
