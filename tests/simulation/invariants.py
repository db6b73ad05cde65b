"""What must be true after every schedule, whatever went wrong."""

from collections import Counter
from typing import Any

from agentplat.engine.messages import NodeEnded, NodeStarted, NodeTerminated, RunEnded
from agentplat.engine.state import FINAL, IllegalTransition, Status
from tests.simulation.database import Row
from tests.simulation.graphs import EFFECT, emitted
from tests.simulation.hosted import INTERRUPTED, seen_of
from tests.simulation.world import World


def violations(world: World) -> list[str]:
    found = list(world.witness.problems)
    for row in world.database.rows:
        found += [f"run {row.id}: {problem}" for problem in _of_run(world, row)]
    return found


def _of_run(world: World, row: Row) -> list[str]:
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
    for kind, name in (((NodeStarted,), "starts"), ((NodeEnded, NodeTerminated), "outcomes")):
        times = Counter(message.activation for message in messages if isinstance(message, kind))
        problems += [f"activation {number} has {n} {name}" for number, n in times.items() if n > 1]
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
    return problems + _of_activations(world, row, machine) + _of_result(world, row, machine)


def _of_activations(world: World, row: Row, machine: Any) -> list[str]:
    problems = []
    for act in machine.activations:
        kind = act.node.spec.id
        executions = world.witness.executions.get((row.id, act.number), 0)
        if executions > 1 and kind == EFFECT:
            problems.append(f"the effect of activation {act.number} was executed {executions} times")
        interrupted = INTERRUPTED in act.outputs.get("error", ())
        if act.status not in (Status.COMPLETED, Status.FAILED) or interrupted:
            continue
        outputs, error = emitted(kind, act.data)
        expected: dict[str, list[Any]] = {}
        for name, value in [*outputs, *([("error", error)] if error else [])]:
            expected.setdefault(name, []).append(value)
        if act.outputs != expected:
            problems.append(f"activation {act.number} emitted {act.outputs} instead of {expected}")
    if machine.status is Status.COMPLETED:
        received = sum(len(act.received) for act in machine.activations)
        fired = sum(
            len(values) * len(act.node.routes(name))
            for act in machine.activations
            for name, values in act.outputs.items()
        )
        if received != fired:
            problems.append(f"{fired} values were routed and {received} arrived")
    return problems


def _of_result(world: World, row: Row, machine: Any) -> list[str]:
    """Where the order of events can't matter, faults can't either."""
    if row.status is Status.COMPLETED and world.graph.confluent:
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
