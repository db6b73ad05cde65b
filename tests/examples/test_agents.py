"""The sample agents: files as the AutoGPT Platform exports them, of blocks that exist, doing what they say."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from agentplat.blocks.registry import Registry
from agentplat.engine.graph import Link, Node
from agentplat.engine.state import Status
from tests.support.drawing import Drawing
from tests.support.processes import ROOT
from tests.support.pure_run import PureRun
from tests.support.shared import SHARED, needs_shared

FILES = sorted((ROOT / "examples" / "agents").glob("*.json"))
BLOCKS = Registry.load([]).blocks
LLM = "1f292d4a-41a4-4977-9684-7c8d560b9f91"

every_agent = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def run(agent: str, **inputs: Any) -> PureRun:
    graph = load(ROOT / "examples" / "agents" / f"{agent}.json")
    nodes = [
        Node(id=node["id"], block_id=node["block_id"], input_default=node["input_default"]) for node in graph["nodes"]
    ]
    return PureRun(Drawing(nodes, msgspec.convert(graph["links"], list[Link])), BLOCKS, inputs)


@every_agent
def test_every_id_is_a_uuid4_and_every_block_exists(file: Path) -> None:
    graph = load(file)
    ids = [graph["id"], *(part["id"] for part in (*graph["nodes"], *graph["links"]))]
    assert len(set(ids)) == len(ids)
    assert {UUID(text).version for text in ids} == {4}
    assert {node["block_id"] for node in graph["nodes"]} <= set(BLOCKS)


@every_agent
def test_nodes_carry_their_links(file: Path) -> None:
    graph = load(file)
    for node in graph["nodes"]:
        for name, end in (("input_links", "sink_id"), ("output_links", "source_id")):
            own = [link for link in graph["links"] if link[end] == node["id"]]
            assert sorted(node[name], key=lambda link: str(link["id"])) == sorted(own, key=lambda link: str(link["id"]))


@needs_shared
@every_agent
def test_files_have_the_members_of_an_export(file: Path) -> None:
    real = load(SHARED / "agents" / "ai-function.json")
    graph = load(file)
    assert set(real) <= set(graph)
    assert set(graph["nodes"][0]) == set(real["nodes"][0])
    assert set(graph["links"][0]) == set(real["links"][0])


def test_one_has_a_loop_a_condition_static_links_and_a_model() -> None:
    graph = load(ROOT / "examples" / "agents" / "slogans.json")
    used = {BLOCKS[node["block_id"]].spec.name for node in graph["nodes"]}
    assert {"StepThroughItemsBlock", "ConditionBlock", "AITextGeneratorBlock"} <= used
    assert any(link["is_static"] for link in graph["links"])
    assert any(link["source_id"] == link["sink_id"] for link in graph["links"])
    model = next(node for node in graph["nodes"] if node["block_id"] == LLM)
    assert "credentials" not in model["input_default"]


def test_greeting() -> None:
    greeted = run("greeting", name="Ada", greeting="Welcome")
    assert greeted.machine.outputs == {"message": ["Welcome, Ada!"], "length": [13]}


def test_expenses_carry_on_after_a_failure() -> None:
    sorted_out = run("expenses")
    assert sorted_out.machine.status is Status.COMPLETED
    assert sorted_out.machine.error_count == 1
    outputs = sorted_out.machine.outputs
    assert (outputs["small"], outputs["large"]) == ([12.5, 99], [310])
    assert outputs["skipped"][0].startswith("skipped: raised by ConditionBlock with message: These values cannot")


def test_squares_is_more_than_a_thousand_executions() -> None:
    squared = run("squares")
    assert squared.machine.node_count == 2429
    assert squared.machine.outputs["sum"] == [sum(n * n for n in range(1, 401))]
    assert squared.machine.outputs["large"] == [f"{n * n} is a large square" for n in range(390, 401)]
