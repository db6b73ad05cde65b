"""Random graphs, and what the AutoGPT Platform's engine did with them. The cases are not part of this project."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentplat.blocks.registry import Registry
from agentplat.engine.graph import Link, Node
from tests.support.drawing import Drawing
from tests.support.pure_run import PureRun

CASES = Path(__file__).parents[3] / "shared" / "conformance" / "engine_cases.json"
FAILURE = re.compile(r"^raised by (\w+) with message: .* block_id: ([0-9a-f-]{36})$", re.DOTALL)
BLOCKS = Registry.load([]).blocks


@pytest.mark.skipif(not CASES.exists(), reason="the engine cases are not beside this checkout")
def test_every_case_agrees() -> None:
    cases = json.loads(CASES.read_text())
    assert cases
    wrong = {case["case"]: differences for case in cases if (differences := compare(case))}
    assert wrong == {}


def compare(case: dict[str, Any]) -> list[str]:
    nodes = [
        Node(id=node["id"], block_id=node["block_id"], input_default=node["input_default"]) for node in case["nodes"]
    ]
    run = PureRun(Drawing(nodes, [Link(**link) for link in case["links"]]), BLOCKS, case["inputs"])
    want, machine, seen = case["expect"], run.machine, run.nodes()
    found = [
        f"{name}: want {want[name]}, got {got}"
        for name, got in (
            ("status", str(machine.status)),
            ("node_exec_count", machine.node_count),
            ("node_error_count", machine.error_count),
        )
        if want[name] != got
    ]
    for name in sorted(set(want["nodes"]) | set(seen)):
        expected = sorted(canonical(one) for one in want["nodes"].get(name, []))
        got_all = sorted(canonical(one) for one in seen.get(name, []))
        if expected != got_all:
            found.append(f"{name}: want {expected}, got {got_all}")
    return found


def canonical(value: Any) -> str:
    """JSON text in which 1 and 1.0 are equal, True and 1 are not, and a failure's free text is left out."""

    def plain(item: Any) -> Any:
        if isinstance(item, float) and item.is_integer():
            return int(item)
        if isinstance(item, str) and (failure := FAILURE.match(item)):
            return f"raised by {failure[1]} block_id: {failure[2]}"
        if isinstance(item, list):
            return [plain(member) for member in item]
        if isinstance(item, dict):
            return {key: plain(member) for key, member in item.items()}
        return item

    return json.dumps(plain(value), sort_keys=True)
