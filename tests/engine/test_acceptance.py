"""The acceptance examples on the bare engine."""

import msgspec
import pytest

from agentplat.blocks.registry import Registry
from agentplat.engine.state import Status
from tests.acceptance.example import Example
from tests.acceptance.examples import EXAMPLES
from tests.support.pure_run import Pick, PureRun

BLOCKS = Registry.load(["tests.support.blocks"]).blocks

PICKS: dict[str, Pick | None] = {
    "inline": None,
    "first": lambda started: 0,
    "last": lambda started: len(started) - 1,
}


@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS.keys())
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example: Example, pick: Pick | None) -> None:
    run = PureRun(example.drawing, BLOCKS, example.inputs, example.masks, pick)

    assert run.machine.status is Status.COMPLETED
    check(example, run, in_order=pick is None)
    assert run.machine.node_count == example.count
    assert run.machine.error_count == example.errors
    if example.outputs or not example.partial:
        assert run.machine.outputs == example.outputs


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def check(example: Example, run: PureRun, *, in_order: bool) -> None:
    nodes = run.nodes()
    for name, expected in example.nodes.items():
        seen = [(one["status"], one["input"], one["output"]) for one in nodes.get(name, [])]
        if in_order:
            assert seen == expected, name
        else:
            assert sorted(map(_text, seen)) == sorted(map(_text, expected)), name
    if not example.partial:
        assert set(nodes) == set(example.nodes)
