"""What happens to a graph between being sent and being stored."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agentplat.engine.compile import find_problems
from agentplat.graphs.models import Graph
from agentplat.graphs.rules import intake
from agentplat.graphs.rules.intake import Draft
from agentplat.sdk.spec import BlockType
from tests.support.graphs import AGENT, INPUT, OUTPUT, block, catalogue_specs, pin
from tests.support.shared import SHARED, needs_shared

NAME = pin("name", required=True, type="string")
VALUE = pin("value", default=None)
SPECS = {
    INPUT: block(INPUT, NAME, VALUE, kind=BlockType.INPUT, outputs=("result",), static_output=True),
    OUTPUT: block(OUTPUT, NAME, VALUE, kind=BlockType.OUTPUT),
    AGENT: block(AGENT, *(pin(n, required=True) for n in ("user_id", "graph_id", "inputs")), kind=BlockType.AGENT),
    "llm": block("llm", pin("model", llm_model=True, enum=["llama-3.1-8b-instant", "default"], default="default")),
    "mail": block("mail", pin("password", type="string"), pin("text", type="string")),
}


def ids() -> Callable[[], str]:
    counter = itertools.count(1)
    return lambda: f"new-{next(counter)}"


def graph(**members: Any) -> Graph:
    return msgspec.convert({"name": "g", "description": "", **members}, Graph)


def completed(**members: Any) -> list[Draft]:
    return intake.complete(graph(**members), "me", SPECS, ids())


def constants(block_id: str, **given: Any) -> dict[str, Any]:
    (draft,) = completed(nodes=[{"id": "n", "block_id": block_id, "input_default": given}])
    return draft.nodes[0].input_default


def agent(node_id: str, graph_id: str, version: int, inputs: list[str], outputs: list[str] | None = None) -> Any:
    properties = {name: {} for name in inputs}
    return {
        "id": node_id,
        "block_id": AGENT,
        "input_default": {
            "graph_id": graph_id,
            "graph_version": version,
            "user_id": "somebody else",
            "input_schema": {"properties": properties},
            "output_schema": {"properties": {name: {} for name in outputs or ["out"]}},
        },
    }


def sub_graph(graph_id: str, version: int, inputs: list[str], outputs: list[str] | None = None) -> Any:
    nodes = [{"block_id": INPUT, "input_default": {"name": name}} for name in inputs]
    nodes += [{"block_id": OUTPUT, "input_default": {"name": name}} for name in outputs or ["out"]]
    return {"id": graph_id, "version": version, "name": graph_id, "description": "", "nodes": nodes}


def test_everything_gets_an_id() -> None:
    (draft,) = completed(nodes=[{"block_id": INPUT}, {"block_id": INPUT, "id": ""}, {"block_id": INPUT, "id": "mine"}])
    assert len({node.id for node in draft.nodes}) == 3
    assert draft.nodes[2].id == "mine"
    assert draft.id


def test_links_of_static_blocks_become_static() -> None:
    ends = {"source_id": "a", "source_name": "result", "sink_id": "b", "sink_name": "value"}
    nodes = [{"id": "a", "block_id": INPUT}, {"id": "b", "block_id": OUTPUT}]
    (draft,) = completed(nodes=nodes, links=[ends])
    assert draft.links[0].is_static


@pytest.mark.parametrize(
    ("block_id", "given", "kept"),
    [
        ("mail", {"password": "p", "text": "t"}, {"password": "p", "text": "t"}),
        ("mail", {"api_key": "k", "username": "u", "text": "t"}, {"text": "t"}),
        ("llm", {"model": "llama3-8b-8192"}, {"model": "llama-3.1-8b-instant"}),
        ("llm", {"model": "llama-3.1-70b-versatile"}, {"model": "default"}),
        ("llm", {"model": "llama-3.1-8b-instant"}, {"model": "llama-3.1-8b-instant"}),
        ("mail", {"model": "gone", "unknown": 1}, {"model": "gone", "unknown": 1}),
        ("unknown block", {"api_key": "k"}, {"api_key": "k"}),
        (AGENT, {"user_id": "x", "data": {"a": 1}}, {"user_id": "me", "inputs": {"a": 1}}),
        (AGENT, {"inputs": {"a": 1}, "data": {}}, {"user_id": "me", "inputs": {"a": 1}}),
        (AGENT, {}, {"user_id": "me", "inputs": {}}),
    ],
)
def test_old_constants_are_brought_up_to_date(block_id: str, given: Any, kept: Any) -> None:
    assert constants(block_id, **given) == kept


def test_text_that_postgres_cannot_hold_is_cleaned() -> None:
    (draft,) = completed(name="a\0b\x1fc\td", description="\x7f\n", instructions="\ud800ok")
    assert (draft.name, draft.description, draft.instructions) == ("abc\td", "\n", "ok")


def test_agents_are_relinked_by_version_and_input_names() -> None:
    parent, inner, _ = completed(
        id="top",
        nodes=[
            agent("right", "stale-1", 3, ["a", "b"]),
            agent("other version", "stale-2", 4, ["a", "b"]),
            agent("other inputs", "stale-3", 3, ["a"]),
            agent("known", "y", 3, ["a", "b"]),
        ],
        sub_graphs=[
            sub_graph("x", 3, ["b", "a"]) | {"nodes": [*sub_graph("", 3, ["b", "a"])["nodes"], agent("n", "s", 9, [])]},
            sub_graph("y", 9, []),
        ],
    )
    assert [node.input_default["graph_id"] for node in parent.nodes] == ["x", "stale-2", "stale-3", "y"]
    assert inner.nodes[-1].input_default["graph_id"] == "y"


def test_outputs_decide_between_two_that_fit() -> None:
    subs = [sub_graph("x", 1, ["a"], ["one"]), sub_graph("y", 1, ["a"], ["two"])]
    nodes = [agent("1", "stale", 1, ["a"], ["two"]), agent("2", "stale", 1, ["a"], ["three"])]
    parent = completed(nodes=nodes, sub_graphs=subs)[0]
    assert [node.input_default["graph_id"] for node in parent.nodes] == ["y", "stale"]


def test_renumbering_reaches_every_mention() -> None:
    drafts = completed(
        id="top",
        nodes=[agent("n", "x", 1, []), {"id": "i", "block_id": INPUT, "input_default": {"graph_id": "x"}}],
        links=[{"source_id": "i", "source_name": "result", "sink_id": "n", "sink_name": "inputs", "id": "old"}],
        sub_graphs=[sub_graph("x", 1, [])],
    )
    parent, inner = intake.renumber(drafts, lambda graph_id, _: {"top": "T", "x": "X"}[graph_id], SPECS, ids())
    assert (parent.id, inner.id) == ("T", "X")
    assert parent.nodes[0].input_default["graph_id"] == "X"
    assert parent.nodes[1].input_default["graph_id"] == "x", "only agent nodes name graphs"
    (link,) = parent.links
    assert (link.source_id, link.sink_id) == (parent.nodes[1].id, parent.nodes[0].id)
    assert {"n", "i", "old"}.isdisjoint({link.id, link.source_id, link.sink_id})


def test_problems_of_all_graphs_come_together() -> None:
    broken = sub_graph("x", 1, []) | {"links": [{"source_id": "?", "source_name": "", "sink_id": "?", "sink_name": ""}]}
    drafts = completed(
        nodes=[
            {"id": "a", "block_id": "nobody knows"},
            {"id": "b", "block_id": INPUT},
            {"id": "c", "block_id": INPUT, "input_default": {"name": "my_credentials"}},
        ],
        sub_graphs=[broken, sub_graph("x", 1, [])],
    )
    messages = [problem.message for problem in intake.problems(drafts, SPECS)]
    assert messages[0] == "Invalid block nobody knows for node #a"
    assert any("#b, `name`: This field is required" in message for message in messages)
    assert any("'my_credentials' is a reserved input name" in message for message in messages)
    assert sum("is invalid node id" in message for message in messages) == 2
    assert "Graph #x v1 is given twice" in messages


@needs_shared
@pytest.mark.parametrize("name", ["automated-seo-blog-writer", "smart-meeting-prep"])
def test_exports_with_sub_graphs_are_relinked_completely(name: str) -> None:
    specs = catalogue_specs()
    exported = msgspec.json.decode((SHARED / "agents" / f"{name}.json").read_bytes(), type=Graph)
    drafts = intake.complete(exported, "me", specs, ids())
    assert intake.problems(drafts, specs) == []
    known = {draft.id for draft in drafts}
    agents = [node for draft in drafts for node in draft.nodes if node.block_id == AGENT]
    assert len(agents) >= len(drafts) - 1 > 0
    assert {node.input_default["graph_id"] for node in agents} <= known
    renumbered = intake.renumber(drafts, lambda graph_id, _: f"G{graph_id}", specs, ids())
    assert all(find_problems(draft.nodes, draft.links, specs) == [] for draft in renumbered)
    mentioned = {n.input_default["graph_id"] for draft in renumbered for n in draft.nodes if n.block_id == AGENT}
    assert mentioned <= {draft.id for draft in renumbered}
