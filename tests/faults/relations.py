"""What must be true between runs, between runs and people, and between runs and money. Asked after `of_run`, which has
brought every record's machine to its end."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from agentplat.credits.rules import EXECUTIONS_PER_CREDIT
from agentplat.engine.activation import Activation
from agentplat.engine.state import FINAL, Status
from agentplat.infra.db import db
from agentplat.runs import subruns, view
from tests.faults.record import Record
from tests.faults.reviewers import Decision


class Payment(Struct, frozen=True):
    """A row of the ledger by which something was paid."""

    user_id: str
    transaction_key: str
    amount: int


class ReviewRow(Struct, frozen=True):
    node_exec_id: str
    run_id: str
    status: str
    processed: bool
    payload: bytes


async def read_payments() -> list[Payment]:
    rows = await db().fetch("SELECT user_id, transaction_key, amount FROM credit_transactions WHERE type = 'USAGE'")
    return [Payment(**row) for row in rows]


async def read_reviews() -> list[ReviewRow]:
    return [
        ReviewRow(**row)
        for row in await db().fetch("SELECT node_exec_id, run_id, status, processed, payload FROM reviews")
    ]


def of_families(records: dict[str, Record]) -> list[str]:
    """A sub-run belongs to one activation, whose end, outputs and costs are those of the sub-run."""
    found = []
    for run_id, record in records.items():
        parent = records.get(record.row.parent_id or "")
        if record.row.parent_id is not None and (parent is None or not _is_child(record, parent)):
            found.append(f"{run_id}: is below {record.row.parent_id}, which did not start it")
        for act in record.machine.activations:
            if act.node.is_agent and record.row.status in FINAL:
                child = records.get(subruns.subrun_id(record.row, act))
                found += [f"{run_id}: activation {act.number} {problem}" for problem in _of_agent(act, child)]
    return found


def _is_child(record: Record, parent: Record) -> bool:
    number = record.row.parent_activation
    if number is None or number > len(parent.machine.activations):
        return False
    act = parent.machine.activations[number - 1]
    return act.node.is_agent and subruns.subrun_id(parent.row, act) == record.row.id


def _of_agent(act: Activation, child: Record | None) -> list[str]:
    if act.status is not Status.COMPLETED:
        # It was stopped, and so is what it started, unless that was over before.
        return [] if child is None or child.row.status in FINAL else [f"is over, and its sub-run {child.row.status}"]
    if child is None:
        return ["is COMPLETED and has no sub-run"]
    machine = child.machine
    if machine.status is not Status.COMPLETED:
        return [f"is COMPLETED, and its sub-run {machine.status}"]
    problems = []
    if act.outputs != machine.outputs:
        problems.append(f"emitted {act.outputs}, and its sub-run {machine.outputs}")
    counted = {"extra_steps": machine.node_count, "extra_cost": machine.cost}
    if act.stats != counted:
        problems.append(f"counts {act.stats}, and its sub-run {counted}")
    return problems


def of_reviews(records: dict[str, Record], reviews: Sequence[ReviewRow], decided: Sequence[Decision]) -> list[str]:
    """What reviewers were told is decided, is; and it is what the run went on with."""
    rows = {row.node_exec_id: row for row in reviews}
    found = []
    for decision in decided:
        row = rows.get(decision.key)
        told = "APPROVED" if decision.approved else "REJECTED"
        if row is None or row.status != told or not row.processed:
            found.append(f"a reviewer was told that {decision.key} is {told}, and it is {row and row.status}")
    for record in records.values():
        for act in record.machine.activations:
            if not act.node.is_review or act.started_at is None:
                continue
            key = view.activation_id(record.row.id, act.number)
            row = rows.pop(key, None)
            if act.status is Status.COMPLETED and (row is None or not _is_said(act, row)):
                found.append(f"{record.row.id}: {act.outputs} is not what was said to {key}: {row}")
            elif row is not None and row.status == "WAITING" and record.row.status in FINAL:
                found.append(f"{record.row.id}: is over, and {key} still waits for somebody")
    return found + [f"a review of nobody: {key}" for key in rows]


def _is_said(act: Activation, row: ReviewRow) -> bool:
    said, unsaid = ("approved_data", "rejected_data")[:: 1 if row.status == "APPROVED" else -1]
    decided = row.status != "WAITING"
    return decided and act.outputs.get(said) == [msgspec.json.decode(row.payload)] and unsaid not in act.outputs


def of_payments(records: dict[str, Record], payments: Sequence[Payment]) -> list[str]:
    """Each recorded start with a price is paid once, and nothing else is; the fee counts no execution twice.

    (Less than all may be counted: those of a run whose worker died just after its end.)
    """
    due: dict[tuple[str, str], int] = {}
    executions: Counter[str] = Counter()
    for record in records.values():
        for act in record.machine.activations:
            executions[record.row.user_id] += act.started_at is not None
            if act.cost:
                due[record.row.user_id, view.activation_id(record.row.id, act.number)] = act.cost
    found, fees = [], defaultdict[str, int](int)
    for paid in payments:
        if paid.transaction_key.endswith("-fee"):
            fees[paid.user_id] -= paid.amount
        elif (cost := due.pop((paid.user_id, paid.transaction_key), None)) != -paid.amount:
            found.append(f"{paid.transaction_key} was charged {-paid.amount}, and its start says {cost}")
    found += [f"{key} started for {cost} and was not charged" for (_, key), cost in due.items()]
    return found + [
        f"{user} paid a fee of {fee} for {executions[user]} executions"
        for user, fee in fees.items()
        if fee > executions[user] // EXECUTIONS_PER_CREDIT
    ]


def starts_paid(payments: Sequence[Payment]) -> int:
    """How many starts were paid."""
    return sum(not paid.transaction_key.endswith("-fee") for paid in payments)
