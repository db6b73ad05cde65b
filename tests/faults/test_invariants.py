"""The judge of single runs must be able to condemn: each doctored run breaks one promise."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from agentplat.engine.messages import Message, NodeEnded, NodeStarted, NodeYielded, RunAborted, RunBegan, RunEnded
from agentplat.runs import view
from agentplat.runs.nodejobs import MAX_CLAIMS
from tests.faults.counting import Call
from tests.faults.graphs import Shape
from tests.faults.invariants import of_acceptance, of_blobs, of_calls, of_run
from tests.faults.load import Accepted
from tests.faults.made import RUN_ID, judged, record_of, replayed, rows_of
from tests.faults.record import Record
from tests.support.drawing import CALL, CALL_AGAIN, CALL_APART, CALL_APART_AGAIN, STORE, draw

DRAWING = draw({"e": (CALL, {"url": "u", "v": 7}), "s": (STORE, {})}, "e.out -> s.input")
AGAIN = draw({"e": (CALL_AGAIN, {"url": "u", "v": 7}), "s": (STORE, {})}, "e.out -> s.input")
JOURNAL: list[list[Message]] = [
    [RunBegan(1), NodeStarted(1, 2)],
    [NodeEnded(1, 3, [("out", 7)]), NodeEnded(2, 4, [("output", 7)], None, 4), RunEnded(5)],
]
TOLD = Accepted(RUN_ID, Shape("shape", DRAWING, 2), stopped=False)
KEY = view.activation_id(RUN_ID, 1)
DONE = Call(KEY, {"v": 7}, 200)


def test_a_faultless_run_is_not_condemned() -> None:
    record, calls = record_of(DRAWING, JOURNAL), {KEY: [DONE]}
    assert of_run(record, TOLD) == []
    assert of_calls(record, calls) == []
    assert not calls
    assert of_acceptance([TOLD], {RUN_ID: record}) == []


def with_row(**members: object) -> Record:
    record = record_of(DRAWING, JOURNAL)
    record.row = replace(record.row, **members)
    return record


def with_journal(doctor: Callable[[list[list[Message]]], list[list[Message]]], fences: tuple[int, ...] = ()) -> Record:
    record = record_of(DRAWING, JOURNAL)
    record.journal = rows_of(doctor(JOURNAL), fences)
    return record


def lacking_its_first_row() -> Record:
    record = record_of(DRAWING, JOURNAL)
    del record.journal[0]
    return record


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (with_row(status="RUNNING"), "is RUNNING"),
        (lacking_its_first_row(), "message 1 should follow, and 3 does"),
        (with_journal(lambda told: told, fences=(2, 1)), "under fence 1, after fence 2"),
        (with_journal(lambda told: [*told, told[1]]), "has 2 outcomes"),
        (with_journal(lambda told: [[*told[0], NodeStarted(1, 2)], told[1]]), "was started 2 times"),
        (with_journal(lambda told: told[:1]), "ends at messages [] of 2"),
        (with_journal(lambda told: [told[0], [RunEnded(3)]]), "can't be replayed"),
        (with_row(status="FAILED"), "its journal says COMPLETED"),
        (with_row(stats=b"{}"), "its stats are not"),
        (with_row(outputs=b'{"r":[1]}'), "its outputs are not"),
        (with_row(node_executions=None), "its node_executions are not"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_doctored_run_is_condemned(record: Record, problem: str) -> None:
    assert any(problem in found for found in of_run(record, TOLD))


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (Shape("shape", DRAWING, 3), "(shape) has 2 executions instead of 3; failed: []"),
        (Shape("shape", DRAWING, 2, cost=1), "cost 0 credits instead of 1"),
        (Shape("shape", DRAWING, 2, outputs={"r": [7]}), "its outputs are not what its graph says, but {} …"),
    ],
)
def test_a_run_that_is_not_what_its_graph_says_is_condemned(shape: Shape, problem: str) -> None:
    assert of_run(record_of(DRAWING, JOURNAL), replace(TOLD, shape=shape)) == [problem]


def test_what_follows_from_an_interruption_after_an_output_is_expected() -> None:
    both = draw({"e": (CALL_APART, {"url": "u", "v": 7}), "s": (STORE, {})}, "e.out -> s.input", "e.error -> s.input")
    told = replace(TOLD, shape=Shape("shape", both, 2))
    emitted, ended = NodeYielded(1, 3, [("out", 7)]), NodeEnded(1, 4, [], "interrupted")
    after = [NodeEnded(number, 5, [("output", 7)], None, 5) for number in (2, 3)]
    assert of_run(record_of(both, [[RunBegan(1), NodeStarted(1, 2), emitted, ended, *after, RunEnded(6)]]), told) == []
    without = [[RunBegan(1), NodeStarted(1, 2), ended, after[0], RunEnded(6)]]
    assert of_run(record_of(both, without), told) == []


def test_a_big_value_that_nothing_names_is_found() -> None:
    record = record_of(DRAWING, JOURNAL)
    record.blobs, record.named = frozenset(["a", "b"]), frozenset(["a"])
    assert of_blobs(record) == ["keeps the big value b, which nothing names"]
    assert of_blobs(record_of(DRAWING, JOURNAL)) == []


def test_a_run_that_ended_for_no_reason_is_condemned_unless_it_was_stopped() -> None:
    record = record_of(DRAWING, [[RunBegan(1), RunAborted(2), RunEnded(3)]])
    (problem,) = of_run(record, TOLD)
    assert "is TERMINATED instead of COMPLETED" in problem
    record = record_of(DRAWING, [[RunBegan(1), RunAborted(2), RunEnded(3)]])
    assert of_run(record, replace(TOLD, stopped=True)) == []


def test_a_lost_run_and_one_too_many_are_condemned() -> None:
    (lost,) = of_acceptance([TOLD], {})
    assert "was accepted and is not there" in lost
    (found,) = of_acceptance([], {RUN_ID: record_of(DRAWING, JOURNAL)})
    assert "nobody was told of it" in found


@pytest.mark.parametrize(
    ("messages", "calls", "problem"),
    [
        (2, [DONE, DONE], "began 2 times, with 0 takeovers"),
        (2, [DONE, Call(KEY, {"v": 8}, 503)], "one key for different calls"),
        (2, [], "is recorded and was not done"),
        (2, [Call(KEY, {"v": 7})], "is recorded and was not done"),
        (0, [DONE], "began without being recorded"),
    ],
)
def test_a_wrong_effect_is_condemned(messages: int, calls: list[Call], problem: str) -> None:
    record = judged(DRAWING, JOURNAL)
    record.machine = replayed(DRAWING, JOURNAL[:messages])
    assert any(problem in found for found in of_calls(record, {KEY: calls}))


def test_a_process_of_its_own_repeats_only_what_may_be_repeated() -> None:
    for block, most in ((CALL_APART, 1), (CALL_APART_AGAIN, MAX_CLAIMS)):
        record = judged(
            draw({"e": (block, {"url": "u", "v": 7})}),
            [[RunBegan(1), NodeStarted(1, 2), NodeEnded(1, 3, [("out", 7)]), RunEnded(4)]],
        )
        assert of_calls(record, {KEY: [DONE] * most}) == []
        assert any("began" in found for found in of_calls(record, {KEY: [DONE] * (most + 1)}))


def test_an_effect_may_be_repeated_as_often_as_its_run_changed_hands() -> None:
    record = judged(AGAIN, JOURNAL)
    assert any("began 2 times" in found for found in of_calls(record, {KEY: [DONE, DONE]}))
    record.journal = rows_of(JOURNAL, fences=(1, 2))
    assert of_calls(record, {KEY: [DONE, DONE]}) == []
    assert any("began 3 times" in found for found in of_calls(record, {KEY: [DONE, DONE, DONE]}))
