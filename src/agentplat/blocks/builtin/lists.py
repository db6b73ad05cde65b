"""Lists: making, changing and searching them."""

import json
from collections.abc import Iterator
from typing import Any

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field, tokens

_OUT_OF_RANGE = "Index out of range"

# Some pins are called `list`, which hides the type of that name in their class.
Items = list[Any]


class CreateListBlock(Block):
    """Makes a list of values, cut into several when a limit is given."""

    id = "a912d5c7-6e00-4542-b2a9-8034136930e4"
    categories = (Category.DATA,)
    pure = True

    class Input(Schema):
        values: list[Any] = field(description="The values.")
        max_size: int | None = field(default=None, description="At most so many items in one list.")
        max_tokens: int | None = field(default=None, description="At most so many tokens in one list.")

    class Output(OutputSchema):
        list: Items = field(description="The list, or one part of it.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for part in _packed(input.values, input.max_size or 0, input.max_tokens or 0):
            yield "list", part


def _packed(values: list[Any], max_size: int, max_tokens: int) -> Iterator[list[Any]]:
    part: list[Any] = []
    used = 0
    for value in values:
        cost = _token_count(value) if max_tokens else 0
        if (max_size and len(part) >= max_size) or (max_tokens and used + cost > max_tokens):
            yield part
            part, used = [], 0
        part.append(value)
        used += cost
    if part or not values:
        yield part


def _token_count(value: Any) -> int:
    return tokens.count(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))


class AddToListBlock(Block):
    """Adds items to a list."""

    id = "aeb08fc1-2fc1-4141-bc8e-f758f183a822"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        list: Items = field(default_factory=Items, advanced=False, description="The list to extend.")
        entry: Any = field(default=None, advanced=False, description="One more item. Empty values are left out.")
        entries: Items = field(default_factory=Items, advanced=True, description="More items, whatever they are.")
        position: int | None = field(default=None, description="Where to put them; the end if left out.")

    class Output(OutputSchema):
        updated_list: Items = field(description="The extended list.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        added = [*input.entries, input.entry] if input.entry else input.entries
        at = len(input.list) if input.position is None else input.position
        yield "updated_list", [*input.list[:at], *added, *input.list[at:]]


class FindInListBlock(Block):
    """Finds a value in a list."""

    id = "5e2c6d0a-1e37-489f-b1d0-8e1812b23333"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        list: Items = field(description="The list.")
        value: Any = field(description="What to find.")

    class Output(OutputSchema):
        index: int = field(description="Where it is.")
        found: bool = field(description="Whether it is there.")
        not_found_value: Any = field(description="The value, when it is not there.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.value in input.list:
            yield "index", input.list.index(input.value)
            yield "found", True
        else:
            yield "found", False
            yield "not_found_value", input.value


class GetListItemBlock(Block):
    """Takes one item out of a list."""

    id = "262ca24c-1025-43cf-a578-534e23234e97"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        list: Items = field(description="The list.")
        index: int = field(description="Which item; negative numbers count from the end.")

    class Output(OutputSchema):
        item: Any = field(description="The item.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "item", input.list[_position(input.list, input.index)]


class RemoveFromListBlock(Block):
    """Removes an item from a list, by its position or by its value."""

    id = "d93c5a93-ac7e-41c1-ae5c-ef67e6e9b826"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        list: Items = field(description="The list.")
        value: Any = field(default=None, description="The value to remove, the first time it occurs.")
        index: int | None = field(default=None, description="The position to remove. Comes before the value.")
        return_item: bool = field(default=False, description="Emit the removed item too.")

    class Output(OutputSchema):
        updated_list: Items = field(description="The list without the item.")
        removed_item: Any = field(description="The item removed, if asked for.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.index is not None:
            at = _position(input.list, input.index)
        elif input.value is not None and input.value in input.list:
            at = input.list.index(input.value)
        else:
            raise BlockError("The value is not in the list." if input.value is not None else "Nothing to remove given.")
        yield "updated_list", [*input.list[:at], *input.list[at + 1 :]]
        if input.return_item:
            yield "removed_item", input.list[at]


class ReplaceListItemBlock(Block):
    """Replaces one item of a list."""

    id = "fbf62922-bea1-4a3d-8bac-23587f810b38"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        list: Items = field(description="The list.")
        index: int = field(description="Which item; negative numbers count from the end.")
        value: Any = field(description="The new item.")

    class Output(OutputSchema):
        updated_list: Items = field(description="The changed list.")
        old_item: Any = field(description="The item that was there.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        at = _position(input.list, input.index)
        yield "updated_list", [*input.list[:at], input.value, *input.list[at + 1 :]]
        yield "old_item", input.list[at]


def _position(items: list[Any], index: int) -> int:
    """The index counted from the start."""
    at = index + len(items) if index < 0 else index
    if not 0 <= at < len(items):
        raise BlockError(_OUT_OF_RANGE)
    return at


class ListIsEmptyBlock(Block):
    """Tells whether a list has no items."""

    id = "896ed73b-27d0-41be-813c-c1c1dc856c03"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        list: Items = field(description="The list.")

    class Output(OutputSchema):
        is_empty: bool = field(description="Whether it has no items.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "is_empty", not input.list


class ConcatenateListsBlock(Block):
    """Joins lists into one."""

    id = "3cf9298b-5817-4141-9d80-7c2cc5199c8e"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        lists: list[list[Any]] = field(description="The lists, in order.")

    class Output(OutputSchema):
        error: str = field(description="What went wrong, if something did.")
        concatenated_list: Items = field(description="All their items.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "concatenated_list", [item for items in input.lists for item in items]


class ReverseListOrderBlock(Block):
    """Turns a list around."""

    id = "422cb708-3109-4277-bfe3-bc2ae5812777"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        input_list: Items = field(description="The list.")

    class Output(OutputSchema):
        reversed_list: Items = field(description="The same items, last first.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "reversed_list", input.input_list[::-1]
