"""The judge of the fault tests must be able to condemn: each doctored run breaks one promise."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from agentplat.blocks.registry import Registry
from agentplat.engine.compile import compile_graph
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, NodeEnded, NodeStarted, RunBegan, RunEnded, encode
from agentplat.runs import view
from agentplat.runs.ending import ending_of
from agentplat.runs.models import RunRequest, RunRow, Segment
from tests.faults.graphs import Shape
from tests.faults.invariants import of_effects, of_run
from tests.faults.load import Accepted
from tests.support.drawing import EFFECT, STORE, draw

DRAWING = draw({"e": (EFFECT, {"path": "log", "v": 7}), "s": (STORE, {})}, "e.out -> s.input")
BLOCKS = Registry.load(["tests.support.blocks"]).blocks
PLAN = compile_graph(DRAWING.nodes, DRAWING.links, {block_id: block.spec for block_id, block in BLOCKS.items()})
AT = datetime(2026, 1, 1, tzinfo=UTC)
RUN_ID = "0b6f3a52-7c1e-4d0a-9f63-2a7f1f6a9c01"
JOURNAL: list[list[Message]] = [
    [RunBegan(1), NodeStarted(1, 2)],
    [NodeEnded(1, 3, [("out", 7)]), NodeEnded(2, 4, [("output", 7)], None, 4), RunEnded(5)],
]
DONE = Counter({f"begun {view.activation_id(RUN_ID, 1)}": 1, f"done {view.activation_id(RUN_ID, 1)}": 1})


def fresh() -> RunMachine:
    return RunMachine(PLAN, view.microseconds(AT))


def replayed(journal: list[list[Message]]) -> RunMachine:
    machine = fresh()
    for messages in journal:
        for message in messages:
            machine.feed(message)
    return machine


def stored(journal: list[list[Message]]) -> list[Segment]:
    segments, seq = [], 1
    for messages in journal:
        segments.append(Segment(run_id=RUN_ID, seq=seq, body=encode(messages)))
        seq += len(messages)
    return segments


def final_row() -> RunRow:
    row = RunRow(
        id=RUN_ID,
        user_id="ann",
        graph_id="g",
        graph_version=1,
        preset_id=None,
        parent_id=None,
        status=replayed(JOURNAL).status,
        request=msgspec.json.encode(RunRequest()),
        created_at=AT,
        started_at=AT,
        ended_at=AT,
        deadline=AT,
        stop_requested_at=None,
        fence=1,
        is_shared=False,
        share_token=None,
        stats=None,
        outputs=None,
        node_executions=None,
    )
    ending = ending_of(row, replayed(JOURNAL))
    return replace(row, stats=ending.stats, outputs=ending.outputs, node_executions=ending.node_executions)


TOLD = Accepted(RUN_ID, Shape("shape", DRAWING, 2), stopped=False)


def test_a_faultless_run_is_not_condemned() -> None:
    machine, lines = fresh(), DONE.copy()
    assert of_run(final_row(), stored(JOURNAL), machine, TOLD) == []
    assert of_effects(final_row(), machine, lines) == []
    assert not lines


@pytest.mark.parametrize(
    ("doctor", "problem"),
    [
        (lambda row, found: (replace(row, status="RUNNING"), found), "is RUNNING"),
        (lambda row, found: (row, found[1:]), "message 1 should follow, and 3 does"),
        (lambda row, found: (row, [*found, replace(found[1], seq=6)]), "has 2 outcomes"),
        (lambda row, found: (row, found[:1]), "was started and has no outcome"),
        (lambda row, found: (replace(row, status="FAILED"), found), "its journal says COMPLETED"),
        (lambda row, found: (replace(row, outputs=b'{"r":[1]}'), found), "its outputs are not"),
        (lambda row, found: (replace(row, node_executions=None), found), "its node_executions are not"),
    ],
)
def test_a_doctored_run_is_condemned(
    doctor: Callable[[RunRow, list[Segment]], tuple[RunRow, list[Segment]]], problem: str
) -> None:
    row, segments = doctor(final_row(), stored(JOURNAL))
    assert any(problem in found for found in of_run(row, segments, fresh(), TOLD))


def test_a_run_with_too_few_executions_is_condemned() -> None:
    told = replace(TOLD, shape=replace(TOLD.shape, executions=3))
    assert of_run(final_row(), stored(JOURNAL), fresh(), told) == ["has 2 executions instead of 3"]


@pytest.mark.parametrize(
    ("messages", "lines", "problem"),
    [
        (2, DONE + Counter([next(iter(DONE))]), "began 2 times"),
        (2, Counter[str](), "is recorded and was not done"),
        (0, DONE, "began without being recorded"),
    ],
)
def test_a_wrong_effect_is_condemned(messages: int, lines: Counter[str], problem: str) -> None:
    machine = replayed(JOURNAL[:messages])
    assert any(problem in found for found in of_effects(final_row(), machine, lines.copy()))
