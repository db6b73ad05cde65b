from typing import Any

import pytest

from agentplat.graphs.rules.export import stripped
from agentplat.sdk.spec import BlockType
from tests.support.graphs import block, node, pin

SPECS = {
    "plain": block("plain", pin("text"), pin("key", secret=True)),
    "entry": block("entry", pin("name"), pin("value"), pin("secret"), kind=BlockType.INPUT),
}


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
        ("nobody knows", {"token": "t", "text": "x"}, {"text": "x"}),
    ],
)
def test_an_export_holds_no_secrets(block_id: str, constants: Any, kept: Any) -> None:
    assert stripped(node("n", block_id, **constants), SPECS).input_default == kept
