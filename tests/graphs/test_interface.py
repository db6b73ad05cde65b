"""What a graph computes about itself, against hand-made cases and against what real exports say about themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentplat.engine.graph import Link, Node
from agentplat.graphs.rules import interface
from agentplat.graphs.rules.credentials import credentials_schema, groups
from agentplat.sdk.spec import BlockType, WebhookSpec
from tests.support.graphs import INPUT, OUTPUT, api_key, block, catalogue_specs, link, node, pin
from tests.support.shared import agent_files, needs_shared

VALUE = pin("value", default=None, description="gone", secret=False, advanced=True)
NUMBER = pin("value", anyOf=[{"type": "integer"}, {"type": "null"}], default=None, secret=False, advanced=False)
SPECS = {
    INPUT: block(INPUT, pin("name", required=True), VALUE, kind=BlockType.INPUT),
    "number": block("number", pin("name", required=True), NUMBER, kind=BlockType.INPUT),
    interface.TABLE_INPUT: block(interface.TABLE_INPUT, VALUE, kind=BlockType.INPUT),
    interface.DRIVE_FILE_INPUT: block(interface.DRIVE_FILE_INPUT, VALUE, kind=BlockType.INPUT),
    OUTPUT: block(OUTPUT, pin("name", required=True), VALUE, kind=BlockType.OUTPUT),
    "print": block("print", sensitive=True),
    "hook": block(
        "hook",
        pin("repo", type="string"),
        pin("credentials"),
        kind=BlockType.WEBHOOK,
        credentials={"credentials": api_key("github")},
        webhook=WebhookSpec(provider="github", webhook_type="repo"),
    ),
    "human": block("human", kind=BlockType.HUMAN_IN_THE_LOOP),
}


def test_properties_of_the_contracts_examples() -> None:
    schema = interface.input_schema(
        [
            node("1", INPUT, name="a", value="A", title="T", advanced=True),
            node("2", INPUT, name="b", advanced=True, placeholder_values=["x", "y"]),
            node("3", "number", name="n", value=3, description="how many"),
        ],
        SPECS,
    )
    assert schema == {
        "type": "object",
        "properties": {
            "a": {"advanced": True, "secret": False, "title": "T", "default": "A"},
            "b": {"advanced": False, "secret": False, "title": "b", "enum": ["x", "y"]},
            "n": {
                "advanced": False,
                "secret": False,
                "title": "n",
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "how many",
                "default": 3,
            },
        },
        "required": ["b"],
    }


def test_of_nodes_with_the_same_name_the_last_is_shown_and_each_may_require_it() -> None:
    schema = interface.input_schema(
        [node("1", INPUT, name="a"), node("2", INPUT, name="a"), node("3", INPUT, name="a", value=0)], SPECS
    )
    assert schema["properties"]["a"]["default"] == 0
    assert schema["required"] == ["a"]


def test_nodes_without_a_usable_name_and_unknown_blocks_show_nothing() -> None:
    nodes = [node("1", INPUT), node("2", INPUT, name=7), node("3", "nobody knows", name="x")]
    assert interface.input_schema(nodes, SPECS)["properties"] == {}


def test_outputs_are_apart_from_inputs() -> None:
    nodes = [node("1", INPUT, name="in"), node("2", OUTPUT, name="out")]
    assert interface.input_names(nodes, SPECS) == {"in"}
    assert interface.output_names(nodes, SPECS) == {"out"}


def test_tables_and_drive_files_describe_their_form() -> None:
    schema = interface.input_schema(
        [
            node("1", interface.TABLE_INPUT, name="t", column_headers=["A", "B"]),
            node("2", interface.TABLE_INPUT, name="u"),
            node("3", interface.DRIVE_FILE_INPUT, name="f", allowed_views=[]),
        ],
        SPECS,
    )["properties"]
    assert (schema["t"]["type"], schema["t"]["format"]) == ("array", "table")
    assert list(schema["t"]["items"]["properties"]) == ["A", "B"]
    assert list(schema["u"]["items"]["properties"]) == ["Column 1", "Column 2", "Column 3"]
    picker = schema["f"]["google_drive_picker_config"]
    assert (picker["allowed_views"], picker["multiselect"]) == (["DOCS"], False)
    assert schema["f"]["auto_credentials"]["kwarg_name"] == "credentials"


def test_flags_and_trigger() -> None:
    assert interface.has_sensitive_block([node("1", "print")], SPECS)
    assert interface.has_block_type([node("1", "human")], SPECS, BlockType.HUMAN_IN_THE_LOOP)
    assert not interface.has_block_type([node("1", "human")], SPECS, *interface.TRIGGERS)
    assert interface.trigger_setup([node("1", "print")], SPECS) is None
    info = interface.trigger_setup([node("1", "print"), node("2", "hook")], SPECS)
    assert info is not None
    assert (info.provider, info.credentials_input_name) == ("github", "credentials")
    assert list(info.config_schema["properties"]) == ["repo"]


def test_a_doubled_link_is_listed_once_and_stays_on_its_nodes() -> None:
    links = [link("1", "result", "2", "value", id="x"), link("1", "result", "2", "value", id="y", is_static=True)]
    assert len(interface.distinct(links)) == 1
    source, sink = interface.with_links([node("1", INPUT), node("2", OUTPUT)], links)
    assert (len(source.output_links), len(source.input_links)) == (2, 0)
    assert (len(sink.output_links), len(sink.input_links)) == (0, 2)


# --- real exports


def load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def nodes_of(graph: dict[str, Any]) -> list[Node]:
    return [
        Node(id=n["id"], block_id=n["block_id"], input_default=n["input_default"], metadata=n.get("metadata", {}))
        for n in graph["nodes"]
    ]


def comparable(value: Any) -> Any:
    """Without what the exporting version wrote for people, and without order where it means nothing."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if not (k == "title" and isinstance(v, str))}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return value


@needs_shared
@pytest.mark.parametrize("file", agent_files(), ids=lambda file: file.stem)
def test_computed_schemas_are_those_of_the_export(file: Path) -> None:
    specs, graph = catalogue_specs(), load(file)
    if "input_schema" not in graph:
        pytest.skip("an old template says nothing about itself")
    for part in (graph, *graph["sub_graphs"]):
        for computed, exported in (
            (interface.input_schema(nodes_of(part), specs), part["input_schema"]),
            (interface.output_schema(nodes_of(part), specs), part["output_schema"]),
        ):
            # The exporter repeats a name that several nodes require.
            assert computed == exported | {"required": list(dict.fromkeys(exported["required"]))}
    nodes = [n for part in (graph, *graph["sub_graphs"]) for n in nodes_of(part)]
    computed = comparable(credentials_schema(graph["name"], groups(nodes, specs)))
    exported = comparable(graph["credentials_input_schema"])
    assert list(computed["properties"]) == list(exported["properties"])
    for key, group in exported["properties"].items():
        # The catalogue offers models today that it did not offer when the file was written, and the other way round.
        ignored = ("discriminator_mapping", "credentials_scopes")
        for name in group.keys() - ignored:
            assert computed["properties"][key][name] == group[name], (key, name)
    assert computed["required"] == exported["required"]


def test_links_may_be_listed_for_nodes_in_any_order() -> None:
    links: list[Link] = [link("2", "output", "1", "value")]
    first, second = interface.with_links([node("1", OUTPUT), node("2", OUTPUT)], links)
    assert first.input_links == second.output_links == links
