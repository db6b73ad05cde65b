"""What storing a graph says about its agent nodes, and that it stores it all the same."""

import re
from typing import Any

import pytest

from tests.support.api import NOBODYS_ID, Api, created, echo_graph
from tests.support.drawing import AGENT, FILL_TEXT, STEP
from tests.support.graphs import INPUT, OUTPUT, STORE

NUMBER = "96dae2bb-97a2-41c2-bd2f-13a3b5a8ea98"


def child(**members: Any) -> dict[str, Any]:
    """Takes `q` (anything) and `n` (a number), needs `q`, gives `ans`."""
    nodes = [
        {"id": "q", "block_id": INPUT, "input_default": {"name": "q"}},
        {"id": "n", "block_id": NUMBER, "input_default": {"name": "n", "value": 3}},
        {"id": "a", "block_id": OUTPUT, "input_default": {"name": "ans"}},
    ]
    links = [{"source_id": "q", "source_name": "result", "sink_id": "a", "sink_name": "value"}]
    return {"id": "c", "version": 2, "name": "Child", "description": "", "nodes": nodes, "links": links} | members


def agent(**constants: Any) -> dict[str, Any]:
    number = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    return {
        "id": "agent",
        "block_id": AGENT,
        "input_default": {
            "graph_id": "c",
            "graph_version": 2,
            "inputs": {"q": "?"},
            "input_schema": {"type": "object", "properties": {"q": {}, "n": number}},
            "output_schema": {"type": "object", "properties": {"ans": {}}},
        }
        | constants,
    }


def parent(node: dict[str, Any], *links: str, sub_graphs: tuple[dict[str, Any], ...] = (child(),)) -> dict[str, Any]:
    others = [
        {"id": "text", "block_id": INPUT, "input_default": {"name": "t", "value": "x"}},
        {"id": "items", "block_id": STEP, "input_default": {"items": [1]}},
        {"id": "after", "block_id": STORE, "input_default": {}},
    ]
    ends = ("source_id", "source_name", "sink_id", "sink_name")
    wires = [dict(zip(ends, re.split(r" -> |\.", link), strict=True)) for link in links]
    return {"nodes": [node, *others], "links": wires, "sub_graphs": sub_graphs}


async def said(api: Api, graph: dict[str, Any]) -> list[tuple[str, str]]:
    stored = await created(api("ann"), **graph)
    ours = next(node["id"] for node in stored["nodes"] if node["block_id"] == AGENT)
    found = stored.get("warnings", [])
    assert all(one["node_id"] == ours for one in found)
    again = (await api("ann").get(f"/api/graphs/{stored['id']}")).json()
    assert "warnings" not in again
    return [(one["field"], one["message"]) for one in found]


async def test_what_fits_gives_no_reason_to_say_anything(api: Api) -> None:
    assert await said(api, parent(agent(inputs={"q": "?", "n": 5}), "agent.ans -> after.input")) == []
    assert await said(api, parent(agent(inputs={}), "text.result -> agent.q")) == []


STALE = {"type": "object", "properties": {"q": {}, "old": {}, "n": {"type": "string"}}}


@pytest.mark.parametrize(
    ("node", "links", "expected"),
    [
        (agent(inputs={}), (), [("q", "'Child' v2 needs the input 'q', and nothing is given to it")]),
        (agent(inputs={"q": 1, "zz": 2}), (), [("zz", "'Child' v2 has no input 'zz': what it is given is ignored")]),
        (
            agent(inputs={"q": 1, "n": "many"}),
            (),
            [("n", "'n' of 'Child' v2 is integer or null, and the constant is string")],
        ),
        (
            agent(),
            ("items.key -> agent.n", "after.output -> agent.q"),
            [],
        ),
        (
            agent(input_schema=STALE),
            (),
            [
                ("input_schema", "The copy of the schema is out of date: 'Child' v2 has no input 'old'"),
                (
                    "input_schema",
                    "The copy of the schema is out of date: 'n' is integer or null in 'Child' v2, not string",
                ),
            ],
        ),
        (
            agent(output_schema={"type": "object", "properties": {"gone": {}}}),
            ("agent.gone -> after.input",),
            [
                ("output_schema", "The copy of the schema is out of date: 'Child' v2 also has the output 'ans'"),
                ("output_schema", "The copy of the schema is out of date: 'Child' v2 has no output 'gone'"),
                ("gone", "'Child' v2 has no output 'gone': its links never carry anything"),
            ],
        ),
    ],
)
async def test_what_does_not_fit_is_said(
    api: Api, node: dict[str, Any], links: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    assert await said(api, parent(node, *links)) == expected


async def test_links_of_another_type(api: Api) -> None:
    graph = parent(agent(), "shout.output -> agent.n")
    graph["nodes"].append({"id": "shout", "block_id": FILL_TEXT, "input_default": {"format": "x", "values": {}}})
    ((field, message),) = await said(api, graph)
    assert field == "n"
    assert message.startswith("'n' of 'Child' v2 is integer or null, and 'output' of node #")
    assert message.endswith(" gives string")


async def test_a_version_that_is_not_there(api: Api) -> None:
    for missing in (agent(graph_version=3), agent(graph_id=NOBODYS_ID)):
        ((field, message),) = await said(api, parent(missing, sub_graphs=()))
        assert field == "graph_version"
        assert "among your graphs" in message


async def test_somebody_elses_graph_is_as_good_as_none(api: Api) -> None:
    secret = await created(api("bob"))
    ((field, message),) = await said(api, parent(agent(graph_id=secret["id"], graph_version=1), sub_graphs=()))
    assert (field, "secret" in message) == ("graph_version", False)
    assert message == f"There is no version 1 of a graph #{secret['id']} among your graphs"


async def test_the_next_version_is_looked_at_as_well(api: Api) -> None:
    stored = await created(api("ann"), **parent(agent()))
    node = next(node for node in stored["nodes"] if node["block_id"] == AGENT)
    node["input_default"]["inputs"] = {}
    updated = (await api("ann").put(f"/api/graphs/{stored['id']}", json=stored)).json()
    assert [one["field"] for one in updated["warnings"]] == ["q"]


async def test_nodes_of_sub_graphs_are_looked_at_as_well(api: Api) -> None:
    inner = child(nodes=[*child()["nodes"], agent(graph_id="d", graph_version=1, inputs={})])
    inner["nodes"][-1]["input_default"]["input_schema"] = {"properties": {"said": {}}}
    inner["nodes"][-1]["input_default"]["output_schema"] = {"properties": {"heard": {}}}
    deepest = echo_graph(id="d", name="deepest")
    deepest["nodes"][0] = {"id": "in", "block_id": INPUT, "input_default": {"name": "said"}}
    stored = await created(api("ann"), **parent(agent(), sub_graphs=(inner, deepest)))
    (found,) = stored["warnings"]
    assert (found["field"], found["message"]) == (
        "said",
        "'deepest' v1 needs the input 'said', and nothing is given to it",
    )
