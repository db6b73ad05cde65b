"""Pins: what authors declare, and the schema the contract shows of it."""

import enum
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from agentplat.sdk import CredentialsMeta, OutputSchema, Schema, credentials, field
from agentplat.sdk.jsonschema import pin_schemas, type_schema


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class Point(Struct, frozen=True):
    x: int
    y: int = 0


class Circle(Struct, frozen=True, tag_field="kind", tag="circle"):
    radius: float = 1.0


class Square(Struct, frozen=True, tag_field="kind", tag="square"):
    side: float = 1.0


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (Any, {}),
        (str, {"type": "string"}),
        (list, {"type": "array", "items": {}}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict, {"type": "object", "additionalProperties": True}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (str | int, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (bool | None, {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        (Size, {"enum": ["small", "large"], "type": "string"}),
        (Literal["a"], {"const": "a", "type": "string"}),
        (Literal[1, 2], {"enum": [1, 2], "type": "integer"}),
        (date, {"type": "string", "format": "date"}),
        (Annotated[int, msgspec.Meta(ge=1, le=5)], {"type": "integer", "minimum": 1, "maximum": 5}),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
                "required": ["x"],
            },
        ),
        (
            Circle | Square,
            {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {
                            "kind": {"const": name, "type": "string"},
                            size: {"type": "number", "default": 1.0},
                        },
                        "required": ["kind"],
                    }
                    for name, size in (("circle", "radius"), ("square", "side"))
                ],
                "discriminator": {"propertyName": "kind", "values": ["circle", "square"]},
            },
        ),
    ],
    ids=str,
)
def test_types(kind: Any, schema: dict[str, Any]) -> None:
    assert type_schema(kind) == schema


def test_type_without_a_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot have the type"):
        type_schema(complex)


class Base(Schema):
    name: str = field(description="The name.", title="Name", placeholder="Ada")
    value: Any = field(default=None)
    items: list[Any] = field(default_factory=list, hidden=True, depends_on=("name",))
    plain: int = 3


class Derived(Base):
    value: str | None = field(default=None, advanced=False, format="short-text", secret=True, extra={"x": 1})


def test_what_a_form_needs_to_know() -> None:
    schema = pin_schemas(Base)
    assert schema["required"] == ["name"]
    assert schema["properties"] == {
        "name": {
            "type": "string",
            "title": "Name",
            "description": "The name.",
            "placeholder": "Ada",
            "advanced": False,
            "secret": False,
        },
        "value": {"default": None, "advanced": True, "secret": False},
        "items": {
            "type": "array",
            "items": {},
            "advanced": True,
            "secret": False,
            "hidden": True,
            "depends_on": ["name"],
        },
        "plain": {"type": "integer", "default": 3, "advanced": True, "secret": False},
    }


def test_redeclared_pin_keeps_its_place() -> None:
    properties = pin_schemas(Derived)["properties"]
    assert list(properties) == ["name", "value", "items", "plain"]
    assert properties["value"] == {
        "anyOf": [{"type": "string", "format": "short-text"}, {"type": "null"}],
        "default": None,
        "advanced": False,
        "secret": True,
        "x": 1,
    }


def test_outputs_have_an_error() -> None:
    class Output(OutputSchema):
        ok: int = field()

    schema = pin_schemas(Output)
    assert list(schema["properties"]) == ["error", "ok"]
    assert schema["required"] == ["ok"]


class Keyed(Schema):
    credentials: CredentialsMeta = credentials(providers=("github",), types=("api_key", "oauth2"), scopes=("repo",))


def test_credentials() -> None:
    assert pin_schemas(Keyed)["properties"]["credentials"] == {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "provider": {"const": "github", "type": "string"},
            "type": {"enum": ["api_key", "oauth2"], "type": "string"},
        },
        "required": ["id", "provider", "type"],
        "credentials_provider": ["github"],
        "credentials_types": ["api_key", "oauth2"],
        "credentials_scopes": ["repo"],
    }


def test_several_providers_need_a_discriminator() -> None:
    with pytest.raises(TypeError, match="discriminator"):
        credentials(providers=("a", "b"))


@given(st.text(), st.none() | st.text())
def test_input_is_frozen_and_typed(name: str, value: str | None) -> None:
    built = msgspec.convert({"name": name, "value": value, "unknown": 1}, Derived)
    assert (built.name, built.value, built.items, built.plain) == (name, value, [], 3)
    with pytest.raises(AttributeError):
        built.name = "other"  # type: ignore[misc]


def test_defaults_are_not_shared() -> None:
    first, second = Base(name="a"), Base(name="a")
    assert first.items is not second.items
