"""From a run's row and journal to its machine: the same fold for recovery, for answers and for event streams."""

from collections.abc import Sequence
from datetime import UTC

from agentplat.engine.activation import Observer
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import decode
from agentplat.graphs import service as graphs
from agentplat.runs import queries, view
from agentplat.runs.models import RunRow, Segment


async def machine_of(row: RunRow, observer: Observer | None = None) -> RunMachine:
    """The machine as it was when the run was accepted."""
    plan = await graphs.plan(row.graph_id, row.graph_version)
    request = view.decode_request(row.request)
    return RunMachine(
        plan,
        view.microseconds(row.created_at),
        request.inputs,
        request.masks,
        frozenset(request.skipped),
        observer,
    )


async def replay(row: RunRow) -> tuple[RunMachine, int]:
    """The machine as far as the journal goes, and the number of messages in it."""
    return await fold(row, (await journals_of([row]))[row.id])


async def journals_of(rows: Sequence[RunRow]) -> dict[str, list[Segment]]:
    """The journals of runs, by run."""
    return await queries.read_journals({row.id: row.created_at.astimezone(UTC).date() for row in rows})


async def fold(row: RunRow, journal: Sequence[Segment]) -> tuple[RunMachine, int]:
    """The machine as far as a journal goes, and the number of messages in it."""
    machine = await machine_of(row)
    count = 0
    for segment in journal:
        for message in decode(segment.body):
            machine.feed(message)
            count += 1
    return machine, count
