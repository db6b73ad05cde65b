"""A graph as a file that may be given away: without secrets, owners and webhooks.

The rules are the contract's and deliberately coarse: better a harmless `max_tokens` too little in a file than one
API key too much.
"""

from typing import Any

from msgspec.structs import replace

from agentplat.engine.graph import Node
from agentplat.engine.pins import base_name
from agentplat.graphs.models import JsonObject
from agentplat.graphs.rules.interface import Specs
from agentplat.sdk.spec import BlockType

SECRET_WORDS = ("credentials", "api_key", "password", "token", "secret")


def stripped(node: Node, specs: Specs) -> Node:
    spec = specs.get(node.block_id)
    secret_pins = {name for name, pin in spec.inputs.items() if pin.schema.get("secret")} if spec else set()
    kept = {k: v for k, v in _strip(node.input_default).items() if base_name(k) not in secret_pins}
    if spec is not None and spec.block_type is BlockType.INPUT and node.input_default.get("secret"):
        kept.pop("value", None)
    if spec is not None and spec.block_type is BlockType.AGENT:
        kept = _agent(kept)
    return replace(node, input_default=kept)


def _agent(constants: JsonObject) -> JsonObject:
    """An agent node says whose it is, and what its graph calls secret it may give or, in its copy of the graph's
    schemas, have as a default."""
    changes: JsonObject = {"user_id": ""} if "user_id" in constants else {}
    for name in ("input_schema", "output_schema"):
        if secrets := _secrets(constants.get(name)):
            schema = constants[name]
            bare = {pin: {k: v for k, v in secrets[pin].items() if k != "default"} for pin in secrets}
            changes[name] = schema | {"properties": schema["properties"] | bare}
    if isinstance(inputs := constants.get("inputs"), dict) and (secrets := _secrets(constants.get("input_schema"))):
        changes["inputs"] = {pin: value for pin, value in inputs.items() if base_name(pin) not in secrets}
    return constants | changes


def _secrets(schema: Any) -> dict[str, JsonObject]:
    """The properties that a schema calls secret."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {name: one for name, one in properties.items() if isinstance(one, dict) and one.get("secret")}


def _strip(constants: JsonObject) -> JsonObject:
    return {
        key: _strip(value) if isinstance(value, dict) else value
        for key, value in constants.items()
        if not _sounds_secret(key, value)
    }


def _sounds_secret(key: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    name = key.lower()
    return any(word in name for word in SECRET_WORDS)
