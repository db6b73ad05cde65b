"""Whether nodes are filled in: per node, for saving and for running."""

from typing import Any

import pytest

from agentplat.graphs.rules import checks
from agentplat.sdk.spec import BlockSpec, BlockType
from tests.support.graphs import api_key, block, link, node, pin

NAME = pin("name", required=True, type="string")
PLAIN = block("plain", pin("text", required=True), pin("note", default=None))
ENTRY = block("entry", NAME, pin("value", default=None), kind=BlockType.INPUT)
NOTE = block("note", pin("text", required=True), kind=BlockType.NOTE)
SECRET = block("secret", pin("credentials", required=True), credentials={"credentials": api_key("x")})
TABLE = block(
    "table",
    pin("sheet", default=None, depends_on=("file", "page")),
    pin("file", default=None),
    pin("page", default="1"),
)
MODEL = block(
    "model",
    pin("credentials", required=True),
    pin("model", default=None),
    credentials={"credentials": api_key("a", "b", discriminator="model")},
)
REQUIRED = {"text": "This field is required"}
NEEDS_FILE = {"sheet": "Requires file to be set"}


@pytest.mark.parametrize(
    ("spec", "constants", "linked", "mask", "for_run", "errors"),
    [
        (PLAIN, {}, (), {}, True, REQUIRED),
        (PLAIN, {}, (), {}, False, {}),
        (PLAIN, {"text": None}, (), {}, True, {}),
        (PLAIN, {"text_#_a": 1}, (), {}, True, {}),
        (PLAIN, {}, ("text",), {}, True, {}),
        (PLAIN, {}, (), {"text": ""}, True, {}),
        (NOTE, {}, (), {}, True, REQUIRED),
        (NOTE, {}, (), {}, False, {}),
        (ENTRY, {}, (), {}, False, {"name": "This field is required"}),
        (SECRET, {}, (), {}, True, {}),
        (TABLE, {}, (), {}, True, {}),
        (TABLE, {"sheet": "s"}, (), {}, True, NEEDS_FILE),
        (TABLE, {"sheet": "s"}, (), {}, False, {}),
        (TABLE, {"sheet": "s", "file": " "}, (), {}, True, NEEDS_FILE),
        (TABLE, {"sheet": "s"}, ("file",), {}, True, NEEDS_FILE),
        (TABLE, {"sheet": "s", "file": "f"}, (), {}, True, {}),
        (TABLE, {"sheet": "s"}, (), {"file": 0}, True, {}),
        (TABLE, {"file": "f"}, (), {"sheet": "s"}, True, {}),
        (TABLE, {}, (), {"sheet": "s"}, True, NEEDS_FILE),
        (MODEL, {}, (), {}, False, {"credentials": "Requires model to be set"}),
        (MODEL, {"model": "m"}, (), {}, False, {}),
    ],
)
def test_one_node(
    spec: BlockSpec, constants: Any, linked: tuple[str, ...], mask: Any, for_run: bool, errors: Any
) -> None:
    found = checks.node_errors(node("n", spec.id, **constants), spec, set(linked), mask, for_run=for_run)
    assert found == errors


@pytest.mark.parametrize("name", ["credentials", "my_credentials"])
@pytest.mark.parametrize("for_run", [True, False])
def test_names_that_stand_for_credentials_are_reserved(name: str, for_run: bool) -> None:
    errors = checks.node_errors(node("n", "entry", name=name), ENTRY, set(), {}, for_run=for_run)
    assert errors == {
        "name": f"'{name}' is a reserved input name: 'credentials' and `*_credentials` are reserved",
    }


def test_a_whole_graph_is_reported_by_node() -> None:
    nodes = [node("a", "plain"), node("b", "plain"), node("c", "nobody knows"), node("d", "plain", text="x")]
    links = [link("d", "output", "b", "text_$_0")]
    specs = {"plain": PLAIN}
    assert checks.graph_errors(nodes, links, specs, {}, for_run=True) == {"a": REQUIRED}
    assert checks.graph_errors(nodes, links, specs, {"a": {"text": "x"}}, for_run=True) == {}
