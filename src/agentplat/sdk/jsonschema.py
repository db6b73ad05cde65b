"""JSON Schema of typed pins, in the form the AutoGPT Platform contract shows in its catalogue.

References are inlined, every pin has `advanced` and `secret`, and a default that is made anew for each execution
(a list, an object) does not appear. `msgspec.json.schema` writes another dialect, so this is done here.
"""

import inspect
import types
import typing
from datetime import date, datetime, time
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, Struct

from agentplat.sdk.schema import CredentialsPin, Pin, Schema

_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    datetime: {"type": "string", "format": "date-time"},
}


def pin_schemas(schema: type[Schema]) -> dict[str, Any]:
    """The JSON Schema of a block's `Input` or `Output`."""
    return _object(schema, with_pins=True)


def type_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of one type."""
    if kind is Any:
        return {}
    if kind in _SCALARS:
        return dict(_SCALARS[kind])
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *notes = get_args(kind)
        return _constrained(type_schema(inner), notes)
    if origin is Literal:
        return _enumeration(list(get_args(kind)))
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if kind is list or origin is list:
        items = get_args(kind)
        return {"type": "array", "items": type_schema(items[0]) if items else {}}
    if kind is dict or origin is dict:
        arguments = get_args(kind)
        values = type_schema(arguments[1]) if arguments else {}
        return {"type": "object", "additionalProperties": values or True}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind], "type": "string"}
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _object(kind, with_pins=issubclass(kind, Schema))
    raise TypeError(f"a pin cannot have the type {kind!r}")


def _constrained(schema: dict[str, Any], notes: list[Any]) -> dict[str, Any]:
    for note in notes:
        if isinstance(note, msgspec.Meta):
            limits = {
                "minimum": note.ge,
                "maximum": note.le,
                "minLength": note.min_length,
                "maxLength": note.max_length,
            }
            schema |= {key: value for key, value in limits.items() if value is not None}
    return schema


def _enumeration(values: list[Any]) -> dict[str, Any]:
    kind = type_schema(type(values[0]))
    return {"const": values[0], **kind} if len(values) == 1 else {"enum": values, **kind}


def _union(members: tuple[Any, ...]) -> dict[str, Any]:
    if all(isinstance(member, type) and issubclass(member, Struct) for member in members):
        tagged = [member.__struct_config__ for member in members]
        if tagged[0].tag_field:
            tags = sorted(config.tag for config in tagged)
            return {
                "oneOf": [type_schema(member) for member in members],
                "discriminator": {"propertyName": tagged[0].tag_field, "values": tags},
            }
    return {"anyOf": [type_schema(member) for member in members]}


def _object(struct: type[Struct], *, with_pins: bool) -> dict[str, Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    properties: dict[str, Any] = {}
    required: list[str] = []
    if tag_field := struct.__struct_config__.tag_field:
        properties[tag_field] = _enumeration([struct.__struct_config__.tag])
        required.append(tag_field)
    for name in _declaration_order(struct):
        field = fields[name]
        key = field.encode_name
        schema = type_schema(hints[name])
        if field.required:
            required.append(key)
        properties[key] = _with_pin(schema, struct, field) if with_pins else _with_default(schema, field)
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return found


def _declaration_order(struct: type[Struct]) -> list[str]:
    # msgspec moves a redeclared field to the front; readers of the catalogue expect it where it was first declared.
    fields = struct.__struct_fields__
    order: dict[str, None] = {}
    for base in reversed(struct.__mro__):
        order |= dict.fromkeys(name for name in inspect.get_annotations(base) if name in fields)
    return list(order)


def _with_default(schema: dict[str, Any], field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    if field.default is NODEFAULT or field.default is UNSET:
        return schema
    return schema | {"default": msgspec.to_builtins(field.default)}


def _with_pin(schema: dict[str, Any], struct: type[Struct], field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    assert issubclass(struct, Schema)
    pin = struct.__pins__.get(field.name, Pin())
    if isinstance(pin, CredentialsPin):
        return _credentials(pin)
    if pin.format:
        texts = schema.get("anyOf", [schema])
        next(text for text in texts if text.get("type") == "string")["format"] = pin.format
    schema = _with_default(schema, field)
    schema["advanced"] = pin.advanced if pin.advanced is not None else not field.required
    schema["secret"] = pin.secret
    shown = {"title": pin.title, "description": pin.description, "placeholder": pin.placeholder}
    schema |= {key: value for key, value in shown.items() if value is not None}
    if pin.hidden:
        schema["hidden"] = True
    if pin.depends_on:
        schema["depends_on"] = list(pin.depends_on)
    return schema | dict(pin.extra)


def _credentials(pin: CredentialsPin) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "provider": _enumeration(list(pin.providers)),
            "type": _enumeration(list(pin.types)),
        },
        "required": ["id", "provider", "type"],
        "credentials_provider": list(pin.providers),
        "credentials_types": list(pin.types),
    }
    extras = {
        "title": pin.title,
        "description": pin.description,
        "credentials_scopes": list(pin.scopes),
        "discriminator": pin.discriminator,
        "discriminator_mapping": dict(pin.discriminator_mapping),
        "discriminator_values": list(pin.discriminator_values),
    }
    return schema | {key: value for key, value in extras.items() if value}
