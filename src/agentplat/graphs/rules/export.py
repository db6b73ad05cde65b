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
    return replace(node, input_default=kept)


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
