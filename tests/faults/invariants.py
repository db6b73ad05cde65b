"""What must be true of every run by itself once the faults are over. Each function returns what is wrong, as sentences.

What runs have to do with each other, with people and with money is in `relations`, what nobody owns in `leftovers`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from agentplat.engine.messages import Message, NodeEnded, NodeStarted, NodeTerminated, RunEnded, decode
from agentplat.engine.state import FINAL, IllegalTransition, Status
from agentplat.runs import view
from agentplat.runs.ending import ending_of
from agentplat.runs.nodejobs import MAX_CLAIMS
from tests.faults.counting import Call
from tests.faults.load import Accepted
from tests.faults.record import Record
from tests.support.drawing import CALL, CALL_AGAIN, CALL_APART, CALL_APART_AGAIN


def of_acceptance(accepted: Sequence[Accepted], records: dict[str, Record]) -> list[str]:
    """Clients asked under a key until they were told of a run, so one that nobody was told of was started twice."""
    known = {run.id for run in accepted}
    found = [f"{run_id}: was accepted and is not there" for run_id in known - records.keys()]
    return found + [
        f"{run_id}: is there and nobody was told of it"
        for run_id, record in records.items()
        if record.row.parent_id is None and run_id not in known
    ]


def of_run(record: Record, told: Accepted | None) -> list[str]:
    """`told` is None for a sub-run."""
    row, machine, journal = record.row, record.machine, record.journal
    if row.status not in FINAL:
        return [f"is {row.status}, with {len(journal)} journal rows under fence {row.fence}"]
    if problems := of_numbers(record):
        return problems
    messages = [message for _, message in record.messages()]
    problems = of_messages(messages)
    try:
        for message in messages:
            machine.feed(message)
    except IllegalTransition as error:
        return [*problems, f"its journal can't be replayed: {error}"]
    if machine.status != row.status:
        return [*problems, f"is {row.status}, and its journal says {machine.status} ({row.stats!r})"]
    ending = ending_of(row, machine)
    for name in ("stats", "outputs", "node_executions"):
        if _comparable(name, getattr(row, name)) != _comparable(name, getattr(ending, name)):
            problems.append(f"its {name} are not what its journal says")
    return problems + ([] if told is None or told.stopped else of_outcome(record, told))


def of_numbers(record: Record) -> list[str]:
    """Numbers 1 to n without a hole, and nobody who has lost the run wrote after who took it."""
    last = 0
    fence = 0
    for segment in record.journal:
        if segment.seq != last + 1:
            return [f"message {last + 1} should follow, and {segment.seq} does"]
        if segment.fence < fence:
            return [f"message {segment.seq} was written under fence {segment.fence}, after fence {fence}"]
        fence = segment.fence
        last += len(decode(segment.body))
    return []


def of_outcome(record: Record, told: Accepted) -> list[str]:
    """What came of a run that nobody stopped is what its graph says."""
    row, machine, shape = record.row, record.machine, told.shape
    if row.status != shape.status or machine.error != shape.error:
        return [f"is {row.status} instead of {shape.status} and nobody stopped it: {row.stats!r}"]
    problems = []
    # One that was interrupted after it had emitted something has what follows from its error besides.
    torn = sum(act.status is Status.FAILED and len(act.outputs) > 1 for act in machine.activations)
    if machine.node_count != shape.executions + torn:
        failed = [
            f"{act.node.id}: {act.outputs.get('error')}" for act in machine.activations if act.status is Status.FAILED
        ]
        problems.append(
            f"({shape.name}) has {machine.node_count} executions instead of {shape.executions + torn}; failed: {failed}"
        )
    if shape.outputs is not None and machine.outputs != shape.outputs:
        problems.append(f"its outputs are not what its graph says, but {str(machine.outputs)[:100]} …")
    if machine.cost != shape.cost:
        problems.append(f"cost {machine.cost} credits instead of {shape.cost}")
    return problems


def _comparable(name: str, document: bytes | None) -> Any:
    """Without the times of commits, which only the worker knows that made them."""
    decoded = None if document is None else msgspec.json.decode(document)
    if name == "node_executions":
        for execution in decoded or ():
            execution["timings"].pop("recorded")
    return decoded


def of_messages(messages: Sequence[Message]) -> list[str]:
    problems = []
    started = Counter(message.activation for message in messages if isinstance(message, NodeStarted))
    outcomes = Counter(message.activation for message in messages if isinstance(message, NodeEnded | NodeTerminated))
    problems += [f"activation {number} was started {times} times" for number, times in started.items() if times > 1]
    problems += [f"activation {number} has {times} outcomes" for number, times in outcomes.items() if times > 1]
    ends = [number for number, message in enumerate(messages, 1) if isinstance(message, RunEnded)]
    if ends != [len(messages)]:
        problems.append(f"ends at messages {ends} of {len(messages)}")
    return problems


def of_calls(record: Record, calls: dict[str, list[Call]]) -> list[str]:
    """Takes the calls of this run out of `calls`, which are by idempotency key."""
    problems = []
    for act in record.machine.activations:
        if act.node.spec.id not in (CALL, CALL_AGAIN, CALL_APART, CALL_APART_AGAIN):
            continue
        made = calls.pop(view.activation_id(record.row.id, act.number), [])
        name = f"the effect of activation {act.number}"
        if made and act.started_at is None:
            problems.append(f"{name} began without being recorded")
        if any(call.body != made[0].body for call in made):
            problems.append(f"{name} has one key for different calls")
        done = sum(call.status != 503 for call in made)
        most = 1
        if act.node.spec.repeatable:
            most = MAX_CLAIMS if act.node.spec.isolated else 1 + takeovers(record, act.number)
        if done > most:
            problems.append(f"{name} began {done} times, with {most - 1} takeovers that could be why")
        if act.status is Status.COMPLETED and not any(call.status == 200 for call in made):
            problems.append(f"{name} is recorded and was not done")
    return problems


def of_blobs(record: Record) -> list[str]:
    """Only what journal or result name is stored: nothing that a commit without an answer has left behind."""
    return [f"keeps the big value {digest}, which nothing names" for digest in sorted(record.blobs - record.named)]


def takeovers(record: Record, activation: int) -> int:
    """How often the run changed hands while the activation was running."""
    fences = [
        fence
        for fence, message in record.messages()
        if isinstance(message, NodeStarted | NodeEnded | NodeTerminated) and message.activation == activation
    ]
    return fences[-1] - fences[0] if len(fences) > 1 else 0
