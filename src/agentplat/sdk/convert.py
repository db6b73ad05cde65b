"""Conversion of a value to the type that a pin declares.

A pin's type is read from its JSON Schema. Conversion never fails on a scalar: text that is no number becomes 0, a
scalar given for a list becomes a list of one. What has no rule (enums, dates, objects with named fields, untyped pins)
is left alone, and schema validation decides about it afterwards.
"""

import json
from collections.abc import Callable
from typing import Any

Converter = Callable[[Any], Any]

# Text in these formats is a date, a time or the like in the block's own types, not plain text.
_TYPED_FORMATS = frozenset({"date", "time", "date-time", "duration", "uuid", "binary"})


def converter(schema: dict[str, Any]) -> Converter | None:
    """The function that converts a value to `schema`'s type, or None where values are left as they are."""
    members = schema.get("anyOf") or schema.get("oneOf")
    if members:
        return _union(list(members))
    if "enum" in schema or "const" in schema:
        return None
    match schema.get("type"):
        case "string":
            return None if schema.get("format") in _TYPED_FORMATS else to_text
        case "integer":
            return to_integer
        case "number":
            return to_number
        case "boolean":
            return to_boolean
        case "array":
            return _list_of(converter(schema.get("items") or {}))
        case "object" if not schema.get("properties"):
            values = schema.get("additionalProperties")
            return _object_of(converter(values) if isinstance(values, dict) else None)
        case _:
            return None


def to_text(value: Any) -> str:
    """Text as it is; anything else as JSON text with `, ` and `: ` and ASCII escapes."""
    return value if isinstance(value, str) else json.dumps(value)


def to_integer(value: Any) -> int:
    """Containers become their length; text is read as a decimal number and cut; what is no number becomes 0."""
    if isinstance(value, int):
        return value
    number = to_number(value)
    try:
        return int(number)
    except (ValueError, OverflowError):  # nan, inf
        return 0


def to_number(value: Any) -> float:
    """As `to_integer`, without the cut."""
    if isinstance(value, float):
        return value
    if isinstance(value, (list, dict)):
        return float(len(value))
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def to_boolean(value: Any) -> bool:
    """Of texts only `true` and `1` are true; other values by their truth."""
    if isinstance(value, str):
        return value.lower() in ("true", "1")
    return bool(value)


def to_list(value: Any) -> list[Any]:
    """An object becomes its [key, value] pairs; text that looks like a JSON list is parsed; the rest is wrapped."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [[key, item] for key, item in value.items()]
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            try:
                parsed = json.loads(text)
            except ValueError:
                return [value]
            return parsed if isinstance(parsed, list) else [value]
    return [value]


def to_object(value: Any) -> dict[str, Any]:
    """Text is parsed as JSON; a list becomes index -> element; what is no object goes under the key `value`."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return {"value": value}
        return parsed if isinstance(parsed, dict) else {"value": parsed}
    return {"value": value}


def _list_of(element: Converter | None) -> Converter:
    if element is None:
        return to_list
    return lambda value: [element(item) for item in to_list(value)]


def _object_of(element: Converter | None) -> Converter:
    if element is None:
        return to_object
    return lambda value: {key: element(item) for key, item in to_object(value).items()}


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _union(members: list[dict[str, Any]]) -> Converter | None:
    """A value that already has a member's type is converted within that member; only then does the first one win."""
    nullable = any(member.get("type") == "null" for member in members)
    typed = [(member, converter(member)) for member in members if member.get("type") != "null"]
    if not typed or any(convert is None for _, convert in typed):
        return None  # an untyped or enumerated member takes the value as it is
    choices: list[tuple[tuple[type, ...], Converter]] = [
        (_PYTHON_TYPES[member["type"]] if "type" in member else (), convert) for member, convert in typed if convert
    ]
    # bool is an int to isinstance, so booleans are looked for by their own name first.
    booleans = next((convert for types, convert in choices if bool in types), None)

    def convert_union(value: Any) -> Any:
        if value is None and nullable:
            return None
        if booleans is not None and isinstance(value, bool):
            return value
        for types, convert in choices:
            if isinstance(value, types):
                return convert(value)
        return choices[0][1](value)

    return convert_union
