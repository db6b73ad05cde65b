"""The judge of what runs have to do with each other, with people and with money must be able to condemn."""

import pytest
from msgspec.structs import replace

from agentplat.engine.messages import Message, NodeEnded, NodeStarted, NodeSuspended, NodeYielded, RunBegan, RunEnded
from agentplat.runs import subruns, view
from tests.faults.made import RUN_ID, judged
from tests.faults.record import Record
from tests.faults.relations import Payment, ReviewRow, of_families, of_payments, of_reviews
from tests.faults.reviewers import Decision
from tests.support.drawing import OUTPUT, PAID, REVIEW, agent, draw

KEY = view.activation_id(RUN_ID, 1)

# A run and its sub-run

LEAF = draw({"o": (OUTPUT, {"name": "ans", "value": 5})})
TOP = draw({"ae": agent("g", 1, {}, "", "ans")})
COUNTED = {"extra_steps": 1, "extra_cost": 0}
ABOVE: list[list[Message]] = [
    [RunBegan(1), NodeStarted(1, 2), NodeYielded(1, 3, [("ans", 5)]), NodeEnded(1, 4, [], None, None, COUNTED)],
    [RunEnded(5)],
]
BELOW: list[list[Message]] = [[RunBegan(1), NodeEnded(1, 2, [("output", 5)], None, 2), RunEnded(3)]]


def family(above: list[list[Message]] = ABOVE, **members: object) -> dict[str, Record]:
    top = judged(TOP, above)
    child_id = subruns.subrun_id(top.row, top.machine.activations[0])
    below = judged(LEAF, BELOW, **{"id": child_id, "parent_id": RUN_ID, "parent_activation": 1} | members)
    return {RUN_ID: top, below.row.id: below}


def changed(place: int, message: Message) -> list[list[Message]]:
    return [[*ABOVE[0][:place], message, *ABOVE[0][place + 1 :]], ABOVE[1]]


def without_child() -> dict[str, Record]:
    return {run_id: record for run_id, record in family().items() if run_id == RUN_ID}


def test_a_faultless_family_is_not_condemned() -> None:
    assert of_families(family()) == []


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        (without_child(), "has no sub-run"),
        (family(id=RUN_ID[:-2] + "ff"), "did not start it"),
        (family(parent_activation=2), "did not start it"),
        (family(parent_id="nobody"), "did not start it"),
        (family(changed(2, NodeYielded(1, 3, [("ans", 6)]))), "emitted {'ans': [6]}"),
        (family(changed(2, NodeYielded(1, 3, [("ans", 5), ("ans", 5)]))), "emitted {'ans': [5, 5]}"),
        (family(changed(3, NodeEnded(1, 4, [], None, None, COUNTED | {"extra_cost": 1}))), "counts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_doctored_family_is_condemned(records: dict[str, Record], problem: str) -> None:
    assert any(problem in found for found in of_families(records))


def test_a_sub_run_that_outlives_its_parent_is_condemned() -> None:
    records = family(changed(3, NodeEnded(1, 4, [], "it failed")))
    assert of_families(records) == []
    child = list(records.values())[1]
    child.row = replace(child.row, status="RUNNING")
    assert any("is over, and its sub-run RUNNING" in found for found in of_families(records))


# A review

ASKING = draw({"h": (REVIEW, {"name": "n", "data": "draft"})})
SAID: list[list[Message]] = [
    [RunBegan(1), NodeStarted(1, 2), NodeSuspended(1, 3)],
    [NodeEnded(1, 4, [("approved_data", "draft"), ("review_message", "m")]), RunEnded(5)],
]
ROW = ReviewRow(KEY, RUN_ID, "APPROVED", True, b'"draft"')
TOLD = Decision(KEY, True)


def asked() -> dict[str, Record]:
    return {RUN_ID: judged(ASKING, SAID)}


def test_a_faultless_review_is_not_condemned() -> None:
    assert of_reviews(asked(), [ROW], [TOLD]) == []


@pytest.mark.parametrize(
    ("rows", "decided", "problem"),
    [
        ([replace(ROW, status="REJECTED")], [], "is not what was said"),
        ([replace(ROW, payload=b'"edited"')], [], "is not what was said"),
        ([replace(ROW, status="WAITING")], [], "is not what was said"),
        ([], [], "is not what was said"),
        ([ROW], [Decision(KEY, False)], "was told that"),
        ([], [TOLD], "was told that"),
        ([replace(ROW, processed=False)], [TOLD], "was told that"),
        ([ROW, replace(ROW, node_exec_id="other")], [TOLD], "a review of nobody: other"),
    ],
)
def test_a_doctored_review_is_condemned(rows: list[ReviewRow], decided: list[Decision], problem: str) -> None:
    assert any(problem in found for found in of_reviews(asked(), rows, decided))


def test_a_question_that_outlives_its_run_is_condemned() -> None:
    record = judged(ASKING, [[RunBegan(1), NodeStarted(1, 2), NodeEnded(1, 3, [], "it failed"), RunEnded(4)]])
    (problem,) = of_reviews({RUN_ID: record}, [replace(ROW, status="WAITING", processed=False)], [])
    assert "still waits for somebody" in problem


# Payments

PRICED = draw({"p": (PAID, {"v": 1})})
STARTED: list[list[Message]] = [[RunBegan(1), NodeStarted(1, 2, 1), NodeEnded(1, 3, [("out", 1)]), RunEnded(4)]]
PAYMENT = Payment("ann", KEY, -1)


def priced() -> dict[str, Record]:
    return {RUN_ID: judged(PRICED, STARTED)}


def test_a_faultless_payment_is_not_condemned() -> None:
    assert of_payments(priced(), [PAYMENT]) == []


@pytest.mark.parametrize(
    ("payments", "problem"),
    [
        ([], "was not charged"),
        ([replace(PAYMENT, amount=-2)], "was charged 2, and its start says 1"),
        ([replace(PAYMENT, user_id="bob")], "was charged 1, and its start says None"),
        ([PAYMENT, replace(PAYMENT, transaction_key="other")], "other was charged 1"),
        ([PAYMENT, PAYMENT], "was charged 1, and its start says None"),
        ([PAYMENT, Payment("ann", "run-fee", -1)], "a fee of 1 for 1 executions"),
    ],
)
def test_a_doctored_payment_is_condemned(payments: list[Payment], problem: str) -> None:
    assert any(problem in found for found in of_payments(priced(), payments))
