"""What must be true after every schedule, whatever went wrong."""

from collections import Counter
from typing import Any

from agentplat.engine.activation import Activation
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import NodeEnded, NodeReleased, NodeStarted, NodeTerminated, RunEnded
from agentplat.engine.state import FINAL, IllegalTransition, Status
from tests.simulation.database import PURSE, Row
from tests.simulation.graphs import AGENT, CALLER, CALLS, ONCE, REVIEW, emitted
from tests.simulation.hosted import INTERRUPTED, SHORT, seen_of
from tests.simulation.world import World


def violations(world: World) -> list[str]:
    found = list(world.witness.problems)
    starts: Counter[tuple[int, int]] = Counter()
    for row in world.database.rows:
        found += [f"run {row.id}: {problem}" for problem in _of_run(world, row, starts)]
    if Counter(world.database.ledger) != starts:
        found.append(f"paid was {Counter(world.database.ledger)}, and started {starts}")
    if world.database.purse != PURSE - starts.total():
        found.append(f"{world.database.purse} credits are left of {PURSE} after {starts.total()} starts")
    return found + [f"run {run_id}: its mailbox is still there" for run_id in world.database.mailboxes]


def _of_run(world: World, row: Row, starts: Counter[tuple[int, int]]) -> list[str]:
    """Counts in `starts` what had a price."""
    if row.status not in FINAL:
        return [f"is {row.status} in the end, under fence {row.fence}"]
    segments = world.database.segments(row.id)
    messages: list[Any] = []
    for segment in segments:
        if segment.seq != len(messages) + 1:
            return [f"message {len(messages) + 1} should follow, and {segment.seq} does"]
        messages += segment.messages
    problems = []
    fences = [segment.fence for segment in segments]
    if fences != sorted(fences):
        problems.append(f"an older holder wrote after a younger one: {fences}")
    released = Counter(message.activation for message in messages if isinstance(message, NodeReleased))
    for kind, name in (((NodeStarted,), "starts"), ((NodeEnded, NodeTerminated), "outcomes")):
        times = Counter(message.activation for message in messages if isinstance(message, kind))
        again = released if name == "starts" else Counter()
        problems += [f"activation {number} has {n} {name}" for number, n in times.items() if n > 1 + again[number]]
    if [number for number, message in enumerate(messages, 1) if isinstance(message, RunEnded)] != [len(messages)]:
        problems.append("its end is not its last message")
    machine = world.machine(row.id)
    try:
        for message in messages:
            machine.feed(message)
    except IllegalTransition as error:
        return [*problems, f"its journal can't be replayed: {error}"]
    if seen_of(machine) != row.ending or machine.status != row.status:
        problems.append("its row is not what its journal says")
    starts.update((row.id, act.number) for act in machine.activations if act.cost)
    if machine.status is Status.FAILED and machine.error != SHORT:
        problems.append(f"failed, and not for want of credits: {machine.error}")
    problems += _of_activations(world, row, machine)
    return problems + _of_others(world, row, machine) + _of_result(world, row, machine)


def _of_activations(world: World, row: Row, machine: Any) -> list[str]:
    problems = []
    for act in machine.activations:
        kind = act.node.spec.id
        executions = world.witness.executions.get((row.id, act.number), 0)
        if executions > 1 and kind in ONCE:
            problems.append(f"the effect of activation {act.number} was executed {executions} times")
        errors = act.outputs.get("error", ())
        if act.status not in (Status.COMPLETED, Status.FAILED) or kind in (AGENT, REVIEW):
            continue
        if any(one in (INTERRUPTED, SHORT) or "rejected by reviewer" in str(one) for one in errors):
            continue
        if machine.aborted and act.ended_at is None:
            continue  # it waited for its turn when the run was ended
        outputs, error = _called(act) if kind == CALLER else emitted(kind, act.data)
        expected: dict[str, list[Any]] = {}
        for name, value in [*outputs, *([("error", error)] if error else [])]:
            expected.setdefault(name, []).append(value)
        if act.outputs != expected:
            problems.append(f"activation {act.number} emitted {act.outputs} instead of {expected}")
    if machine.status is Status.COMPLETED:
        received = sum(len(act.received) for act in machine.activations if act.caller is None)
        fired = sum(
            len(values) * len(act.node.routes(name))
            for act in machine.activations
            for name, values in act.outputs.items()
        )
        if received != fired:
            problems.append(f"{fired} values were routed and {received} arrived")
    return problems


def _called(act: Activation) -> tuple[list[tuple[str, Any]], None]:
    """What a caller emits: the sum of what its tool said, each call made once."""
    said = [one.outputs["out"][0] for one in act.calls if one.status is Status.COMPLETED]
    return [("out", sum(said) if len(act.calls) == CALLS else f"{len(act.calls)} calls")], None


def _of_others(world: World, row: Row, machine: RunMachine) -> list[str]:
    """What nodes that waited for sub-runs and people say is what these said."""
    problems = []
    database = world.database
    for act in machine.activations:
        key = (row.id, act.number)
        child = database.children.get(key)
        review = database.reviews.get(key)
        if review is not None and review.approved is None:
            problems.append(f"is over, and activation {act.number} still waits for somebody")
        if key in world.witness.told and (review is None or review.approved != world.witness.told[key]):
            problems.append(f"a reviewer was told something else of activation {act.number} than is decided")
        if act.status is not Status.COMPLETED:
            continue
        if act.node.is_review and (review is None or ("approved_data" in act.outputs) != review.approved):
            problems.append(f"activation {act.number} emitted {act.outputs}, and its reviewer said {review}")
        if act.node.is_agent:
            problems += [f"activation {act.number} {text}" for text in _of_agent(world, act, child)]
            if row.stop_requested and child is not None and database.rows[child].status is Status.TERMINATED:
                problems.append(f"activation {act.number} is COMPLETED by a sub-run that was stopped with it")
    return problems


def _of_agent(world: World, act: Activation, child: int | None) -> list[str]:
    if child is None:
        return ["is COMPLETED and has no sub-run"]
    ending = world.database.rows[child].ending
    if ending is None:
        return ["is COMPLETED, and its sub-run is not over"]
    _, node_count, _, _, activations = ending
    said = [value for _, node, _, _, outputs in activations if node == "result" for value in outputs.get("out", ())]
    if act.outputs.get("result", []) != said:
        return [f"emitted {act.outputs}, and its sub-run {said}"]
    assert act.stats is not None
    return [] if act.stats["extra_steps"] == node_count else [f"counts {act.stats}, and its sub-run {node_count}"]


def _of_result(world: World, row: Row, machine: Any) -> list[str]:
    """Where the order of events can't matter, faults can't either."""
    if row.status is Status.COMPLETED and row.level == 0 and world.graphs[0].confluent:
        expected = _by_node(world.undisturbed())
        if (got := _by_node(seen_of(machine))) != expected:
            return [f"its result is {got} instead of {expected}"]
    return []


def _by_node(seen: Any) -> Any:
    status, node_count, error_count, outputs, activations = seen
    by_node: dict[str, list[Any]] = {}
    for _, node_id, state, data, emitted_ in activations:
        by_node.setdefault(node_id, []).append((state, data, emitted_))
    return status, node_count, error_count, outputs, by_node
