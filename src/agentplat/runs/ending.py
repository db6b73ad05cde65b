"""Ending runs that no worker holds, on behalf of somebody who asked for it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from time import time_ns
from types import MappingProxyType

import msgspec

from agentplat.credits import service as credits
from agentplat.credits.models import Charge, Shortage
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, NodeTerminated, RunAborted, RunEnded, encode
from agentplat.events import service as events
from agentplat.events.models import RunRecord
from agentplat.infra.clock import now
from agentplat.infra.errors import AppError
from agentplat.infra.ids import new_id
from agentplat.infra.telemetry import get_logger
from agentplat.runs import commits, control, mail, metrics, turns, view
from agentplat.runs.commits import Ending, Write, spilled
from agentplat.runs.letters import Addressed, SubRunEnded
from agentplat.runs.models import RunRow
from agentplat.runs.replay import fold, journals_of

# Long enough to write one row.
LEASE = timedelta(seconds=5)

_log = get_logger(__name__)
_encoder = msgspec.json.Encoder()


def ending_of(row: RunRow, machine: RunMachine, recorded: Mapping[int, int] = MappingProxyType({})) -> Ending:
    """What a final run leaves behind in its row. `recorded` has the times when outcomes were, by activation."""
    assert machine.ended_at is not None
    return Ending(
        status=machine.status,
        ended_at=view.moment(machine.ended_at),
        stats=_encoder.encode(view.timed_stats(row, machine, machine.ended_at)),
        outputs=_encoder.encode(machine.outputs),
        node_executions=_encoder.encode(view.node_executions(row, machine, recorded)),
        fee=_fee(row, machine),
    )


def _fee(row: RunRow, machine: RunMachine) -> Charge | None:
    """For the executions that were free: those that cost something were counted with their charge."""
    if not credits.enabled():
        return None
    free = sum(1 for act in machine.activations if act.started_at is not None and not act.cost)
    return credits.executions_charge(row.id, row.graph_id, free) if free else None


def letter_of_end(row: RunRow, machine: RunMachine) -> list[Addressed]:
    """What a sub-run's parent is told when it is over."""
    if row.parent_id is None or row.parent_activation is None:
        return []
    ended = SubRunEnded(row.parent_activation, machine.status, machine.node_count, machine.cost)
    return [Addressed(row.parent_id, ended)]


async def tell_of_shortage(row: RunRow, shortage: Shortage) -> None:
    """Show the user that a run ended for want of credits, unless that is known. A notice is no promise: a worker that
    dies now has told nobody, and the run says it all the same."""
    if await credits.note_shortage(row.user_id, row.graph_id):
        notice = {
            "type": "ZERO_BALANCE",
            "event": "insufficient_funds",
            "graph_id": row.graph_id,
            "graph_exec_id": row.id,
            "current_balance": shortage.balance,
            "shortfall": shortage.cost - shortage.balance,
        }
        await events.notify(row.user_id, notice)


async def terminate(run_ids: Sequence[str]) -> list[str]:
    """Take the runs as a worker would, and end them as TERMINATED, with few statements however many they are.

    Returns those that were: somebody else may have one, or it is final.
    """
    owner = new_id()
    rows = await turns.claim_to_end(run_ids, owner, LEASE, now())
    if not rows:
        return []
    journals = await journals_of(rows)
    ends = []
    for row in rows:
        try:
            ends.append(_End(row, *await fold(row, journals[row.id])))
        except AppError as error:
            # It can't be driven any more. Whoever takes it when this lease is over records that.
            _log.warning("run_not_ended", run_id=row.id, reason=str(error))
    committed = await commits.commit([end.write for end in ends], owner)
    ends = [end for end in ends if end.write.claim in committed.held]
    for end in ends:
        metrics.run_ended(end.machine, view.timings(end.row, end.machine), {})
    ended = [end.row.id for end in ends]
    # Parents that end together with their sub-runs need no news of them.
    letters = [letter for end in ends for letter in end.write.letters if letter.run_id not in ended]
    await control.call_for_mail(letters, committed.asleep)
    await mail.close_mailboxes(ended)
    if places := sum(end.row.place is not None for end in ends):
        await control.ring(places)
    try:
        async with asyncio.timeout(control.TELL_SECONDS):
            await events.publish([end.record for end in ends])
    except TimeoutError:
        _log.warning("ends_not_published", runs=len(ended))
    return ended


class _End:
    """A run that was taken to be ended, with the journal row that does it."""

    def __init__(self, row: RunRow, machine: RunMachine, recorded: int) -> None:
        at = time_ns() // 1000
        messages: list[Message] = [
            *([] if machine.aborted else [RunAborted(at)]),
            *(NodeTerminated(act.number, at) for act in machine.running()),
            RunEnded(at),
        ]
        for message in messages:
            machine.feed(message)
        self.row = row
        self.machine = machine
        whole = Write(
            run_id=row.id,
            run_day=row.created_at.astimezone(UTC).date(),
            seq=recorded + 1,
            fence=row.fence,
            body=encode(messages),
            ending=ending_of(row, machine),
            letters=letter_of_end(row, machine),
        )
        self.write = spilled(whole, set())

    @property
    def record(self) -> RunRecord:
        row, write = self.row, self.write
        return RunRecord(
            user_id=row.user_id,
            graph_id=row.graph_id,
            run_id=row.id,
            seq=write.seq,
            body=write.announced,
            final=True,
        )
