"""Objects: making, changing and searching them."""

import json
from typing import Any

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field


class CreateDictionaryBlock(Block):
    """Makes an object of named values."""

    id = "b924ddf4-de4f-4b56-9a85-358930dcbc91"
    categories = (Category.DATA,)
    pure = True

    class Input(Schema):
        values: dict[str, Any] = field(description="The values by name.")

    class Output(OutputSchema):
        error: str = field(description="What went wrong, if something did.")
        dictionary: dict[str, Any] = field(description="The object.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "dictionary", input.values


class AddToDictionaryBlock(Block):
    """Adds entries to an object."""

    id = "31d1064e-7446-4693-a7d4-65e5ca1180d1"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        dictionary: dict[str, Any] = field(default_factory=dict, advanced=False, description="The object to extend.")
        key: str = field(default="", advanced=False, description="The key of a new entry.")
        value: Any = field(default=None, advanced=False, description="The value of the new entry.")
        entries: dict[str, Any] = field(default_factory=dict, advanced=True, description="More entries.")

    class Output(OutputSchema):
        updated_dictionary: dict[str, Any] = field(description="The extended object.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        entry = {input.key: input.value} if input.key and input.value is not None else {}
        yield "updated_dictionary", input.dictionary | entry | input.entries


class FindInDictionaryBlock(Block):
    """Looks up a key in an object, an index in a list, or a key in every object of a list."""

    id = "0e50422c-6dee-4145-83d6-3a5a392f65de"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        input: Any = field(description="Where to look; text is read as JSON.")
        key: str | int = field(description="What to look for.")

    class Output(OutputSchema):
        output: Any = field(description="What was found.")
        missing: Any = field(description="The input, when there is no such key.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        source, key = _parsed(input.input), input.key
        if _has(source, key):
            yield "output", source[key]
        elif isinstance(source, list) and isinstance(key, str):
            yield "output", _values_of_all(source, key)
        elif isinstance(source, (int, float)) and key in _NUMBER_PARTS:
            yield "output", getattr(source, str(key))
        elif isinstance(source, dict) and key in _RESERVED_KEYS:
            raise BlockError(f"'{key}' is a reserved word, and the object has no such key.")
        else:
            yield "missing", input.input


# The AutoGPT Platform contract lets parts of a number be looked up, and refuses these names where an object lacks them.
_NUMBER_PARTS = frozenset({"real", "imag"})
_RESERVED_KEYS = frozenset(name for name in dir(dict) if not name.startswith("_"))


def _has(source: Any, key: str | int) -> bool:
    if isinstance(source, list):
        return isinstance(key, int) and 0 <= key < len(source)
    return isinstance(source, dict) and key in source


def _parsed(source: Any) -> Any:
    if not isinstance(source, str):
        return source
    try:
        return json.loads(source)
    except ValueError as error:
        raise BlockError(f"The text is not JSON: {error}") from error


def _values_of_all(items: list[Any], key: str) -> list[Any]:
    # The first item decides whether this is a list of objects at all.
    if not items or not isinstance(items[0], dict) or key not in items[0]:
        return []
    return [item[key] for item in items if isinstance(item, dict) and key in item]


class RemoveFromDictionaryBlock(Block):
    """Removes an entry from an object."""

    id = "46afe2ea-c613-43f8-95ff-6692c3ef6876"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        dictionary: dict[str, Any] = field(description="The object.")
        key: str | int = field(description="The key to remove.")
        return_value: bool = field(default=False, description="Emit the removed value too.")

    class Output(OutputSchema):
        updated_dictionary: dict[str, Any] = field(description="The object without the entry.")
        removed_value: Any = field(description="The value removed, if asked for.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        removed = _value_at(input.dictionary, input.key)
        yield "updated_dictionary", {key: value for key, value in input.dictionary.items() if key != input.key}
        if input.return_value:
            yield "removed_value", removed


class ReplaceDictionaryValueBlock(Block):
    """Replaces the value of an entry of an object."""

    id = "27e31876-18b6-44f3-ab97-f6226d8b3889"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        dictionary: dict[str, Any] = field(description="The object.")
        key: str | int = field(description="The key whose value is replaced.")
        value: Any = field(description="The new value.")

    class Output(OutputSchema):
        updated_dictionary: dict[str, Any] = field(description="The changed object.")
        old_value: Any = field(description="The value it had.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        old = _value_at(input.dictionary, input.key)
        yield "updated_dictionary", {**input.dictionary, str(input.key): input.value}
        yield "old_value", old


def _value_at(dictionary: dict[str, Any], key: str | int) -> Any:
    if not isinstance(key, str) or key not in dictionary:
        raise BlockError(f"The key '{key}' is not in the dictionary.")
    return dictionary[key]


class DictionaryIsEmptyBlock(Block):
    """Tells whether an object has no entries."""

    id = "a3cf3f64-6bb9-4cc6-9900-608a0b3359b0"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        dictionary: dict[str, Any] = field(description="The object.")

    class Output(OutputSchema):
        is_empty: bool = field(description="Whether it has no entries.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "is_empty", not input.dictionary
