"""The catalogue as the AutoGPT Platform contract has it, in everything but prose."""

import json
from typing import Any

import msgspec
import pytest

from agentplat.blocks import service
from agentplat.sdk import Block
from tests.support.shared import SHARED

BUILTIN = [block for block in service.registry().blocks.values() if block.__module__.startswith("agentplat.")]
PROSE = {"title", "description", "placeholder"}
# Notes of whoever wrote the catalogue down; they are not part of any schema.
ANNOTATIONS = {"x-default-factory", "x-default-omitted", "default_is_prose", "llm_model_metadata_ref"}


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    if not SHARED.is_dir():
        pytest.skip("the contract's material is not beside this checkout")
    blocks = json.loads((SHARED / "catalog" / "blocks.json").read_text(encoding="utf-8"))["blocks"]
    return {block["id"]: block for block in blocks}


def bare(schema: Any) -> Any:
    """A schema without prose; what stands under `properties` are names, not keywords."""
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in PROSE | ANNOTATIONS}
    for key, value in kept.items():
        if key == "properties":
            kept[key] = {name: bare(property_schema) for name, property_schema in value.items()}
        elif key not in ("default", "discriminator_mapping"):
            kept[key] = bare(value)
    return kept


def own_words(schema: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The schema without the defaults that are prose in the contract: ours are, and differ."""
    properties = {**schema["properties"]}
    for name, described in expected["properties"].items():
        if described.get("default_is_prose"):
            assert len(properties[name]["default"]) > 100
            properties[name] = {key: value for key, value in properties[name].items() if key != "default"}
    return {**schema, "properties": properties}


def by_model(costs: Any) -> list[Any]:
    """The first price that fits counts, so order matters, but not between prices of different models."""
    return sorted(costs, key=lambda cost: cost["cost_filter"].get("model", ""))


@pytest.mark.parametrize("block", BUILTIN, ids=lambda block: block.__name__)
def test_block_is_as_in_the_contract(block: type[Block], contract: dict[str, Any]) -> None:
    expected = contract[block.id]
    spec = block.spec
    assert spec.name == expected["name"]
    assert bare(own_words(spec.input_schema, expected["input_schema"])) == bare(expected["input_schema"])
    assert bare(spec.output_schema) == bare(expected["output_schema"])
    assert list(spec.input_schema["properties"]) == list(expected["input_schema"]["properties"])
    assert sorted(spec.categories) == sorted(expected["categories"])
    assert spec.block_type == expected["block_type"]
    assert spec.static_output == expected["static_output"]
    assert spec.sensitive == expected["is_sensitive_action"]
    assert spec.disabled == expected["disabled"]
    assert by_model(msgspec.to_builtins(spec.costs)) == by_model(expected["costs"])


@pytest.mark.parametrize("block", BUILTIN, ids=lambda block: block.__name__)
def test_defaults_made_anew_are_as_in_the_contract(block: type[Block], contract: dict[str, Any]) -> None:
    expected = {
        name: schema["x-default-factory"]
        for name, schema in contract[block.id]["input_schema"]["properties"].items()
        if "x-default-factory" in schema
    }
    fields = {field.name: field for field in msgspec.structs.fields(block.Input)}
    assert {name: fields[name].default_factory() for name in expected} == expected


@pytest.mark.parametrize("block", BUILTIN, ids=lambda block: block.__name__)
def test_every_block_and_pin_is_described(block: type[Block]) -> None:
    assert block.spec.description
    for schema in (*block.spec.input_schema["properties"].values(), *block.spec.outputs.values()):
        assert schema.get("description"), schema


def test_catalogue_lists_every_enabled_block() -> None:
    listed = json.loads(service.catalogue())
    assert {entry["id"] for entry in listed} == {id_ for id_, spec in service.specs().items() if not spec.disabled}
    assert set(listed[0]) == {
        *("id", "name", "inputSchema", "outputSchema", "costs", "description"),
        *("categories", "contributors", "staticOutput", "uiType"),
    }
