from typing import Any

import pytest

from agentplat.sdk import Block, BlockType, Category, CredentialsMeta, OutputSchema, Schema, credentials, field


class GreetBlock(Block):
    """Greets
    somebody.

    This paragraph is for readers of the code.
    """

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5d01"
    categories = (Category.TEXT,)
    contributors = ("Ada",)
    pure = True

    class Input(Schema):
        name: str = field()
        title: str = field(default="", depends_on=("name",))

    class Output(OutputSchema):
        greeting: str = field()


class PoliteGreetBlock(GreetBlock):
    """Greets politely."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5d02"
    inline = False

    class Input(GreetBlock.Input):
        title: str = field(default="Dr")


def test_spec_tells_what_the_class_says() -> None:
    spec = GreetBlock.spec
    assert (spec.id, spec.name, spec.description) == (GreetBlock.id, "GreetBlock", "Greets somebody.")
    assert (spec.block_type, spec.categories, spec.contributors) == (BlockType.STANDARD, ("TEXT",), ("Ada",))
    assert (spec.pure, spec.inline, spec.repeatable) == (True, True, True)
    assert list(spec.inputs) == ["name", "title"]
    assert spec.inputs["name"].required
    assert spec.inputs["title"].depends_on == ("name",)
    assert spec.inputs["title"].schema == spec.input_schema["properties"]["title"]
    assert list(spec.outputs) == ["error", "greeting"]


def test_only_own_pins_are_converted() -> None:
    spec = PoliteGreetBlock.spec
    assert {name: pin.convert for name, pin in spec.inputs.items()} == {"name": False, "title": True}
    assert (spec.pure, spec.inline, spec.repeatable) == (True, False, True)
    assert spec.description == "Greets politely."


def test_class_without_an_id_is_abstract() -> None:
    class Helper(Block):
        pure = True

    assert not hasattr(Helper, "spec")


def test_credentials_are_in_the_spec() -> None:
    class KeyedBlock(Block):
        id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5d03"

        class Input(Schema):
            model: str = field(default="m")
            credentials: CredentialsMeta = credentials(
                providers=("a", "b"), discriminator="model", discriminator_mapping={"m": "a"}
            )

    found = KeyedBlock.spec.credentials["credentials"]
    assert (found.providers, found.types, found.required) == ({"a", "b"}, {"api_key"}, True)
    assert (found.discriminator, found.discriminator_mapping) == ("model", {"m": "a"})


def _with_input(pins: type[Schema], name: str = "OddBlock") -> type[Any]:
    return type(name, (Block,), {"id": "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5d04", "Input": pins})


class Undecided(Schema):
    flag: bool = field()


class Misnamed(Schema):
    key: CredentialsMeta = credentials(providers=("a",))


class Pretending(Schema):
    credentials: str = field(default="")


@pytest.mark.parametrize(
    ("pins", "name", "complaint"),
    [
        (Schema, "Odd", "ends in 'Block'"),
        (Undecided, "OddBlock", "'flag' needs a default"),
        (Misnamed, "OddBlock", "credentials inputs"),
        (Pretending, "OddBlock", "credentials inputs"),
    ],
)
def test_mistakes_are_refused_where_they_are_made(pins: type[Schema], name: str, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        _with_input(pins, name)


def test_error_output_is_text() -> None:
    class Output(Schema):
        error: int = field()

    with pytest.raises(TypeError, match="'error' is text"):
        type("OddBlock", (Block,), {"id": "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5d05", "Output": Output})
