from typing import Any

import pytest

from agentplat.graphs.rules.export import stripped
from agentplat.sdk.spec import BlockType
from tests.support.graphs import block, node, pin

SPECS = {
    "plain": block("plain", pin("text"), pin("key", secret=True)),
    "entry": block("entry", pin("name"), pin("value"), pin("secret"), kind=BlockType.INPUT),
    "agent": block("agent", pin("user_id"), pin("graph_id"), kind=BlockType.AGENT),
}


PIN = {"secret": True, "title": "PIN"}


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("block_id", "constants", "kept"),
    [
        ("plain", {"text": "t", "key": "hush", "key_#_a": "hush"}, {"text": "t"}),
        ("plain", {"my_Credentials": {"id": "x"}, "API_KEY": 1, "max_tokens": 5, "password": None}, {}),
        ("plain", {"use_token": True, "secret": False}, {"use_token": True, "secret": False}),
        ("plain", {"headers": {"X-Token": "t", "a": {"password": "p", "b": 1}}}, {"headers": {"a": {"b": 1}}}),
        ("plain", {"list": [{"token": "stays"}]}, {"list": [{"token": "stays"}]}),
        ("entry", {"name": "n", "value": "v", "secret": True}, {"name": "n", "secret": True}),
        ("entry", {"name": "n", "value": "v", "secret": False}, {"name": "n", "value": "v", "secret": False}),
        ("agent", {"user_id": "ann", "graph_id": "g"}, {"user_id": "", "graph_id": "g"}),
        (
            "agent",
            {"input_schema": schema(pin=PIN | {"default": "1234"}, to={"default": "x"}), "inputs": {"pin": 1, "to": 2}},
            {"input_schema": schema(pin=PIN, to={"default": "x"}), "inputs": {"to": 2}},
        ),
        ("agent", {"output_schema": schema(pin=PIN | {"default": "1234"})}, {"output_schema": schema(pin=PIN)}),
        (
            "agent",
            {"input_schema": {"properties": [1]}, "inputs": 7},
            {"input_schema": {"properties": [1]}, "inputs": 7},
        ),
        ("agent", {"input_schema": schema(pin=None)}, {"input_schema": schema(pin=None)}),
        ("plain", {"user_id": "of somewhere else"}, {"user_id": "of somewhere else"}),
        ("nobody knows", {"token": "t", "text": "x"}, {"text": "x"}),
    ],
)
def test_an_export_holds_no_secrets(block_id: str, constants: Any, kept: Any) -> None:
    assert stripped(node("n", block_id, **constants), SPECS).input_default == kept
