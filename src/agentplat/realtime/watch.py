"""A run that somebody watches: its machine, fed with committed records, and the events that come of it."""

from collections.abc import Callable

import msgspec

from agentplat.engine.activation import Activation
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import decode
from agentplat.events.models import RunRecord
from agentplat.infra.clock import now
from agentplat.realtime.models import NodeEvent, RunEvent, ServerMessage, graph_channel, run_channel
from agentplat.runs import service as runs
from agentplat.runs.models import RunRow

# A run with more node executions than this shows its figures once per journal row, not after each of them: every
# event carries all outputs so far, so showing each would cost the square of their number.
MAX_FIGURE_EVENTS = 200

Emit = Callable[[str, str], None]
"""Delivers a text frame to everybody on a channel; wanted only if `Wanted` says so."""
Wanted = Callable[[str], bool]

_encode = msgspec.json.Encoder().encode


class WatchedRun:
    """Folds one run. `next_seq` is the number of the first message that it has not seen."""

    def __init__(self, row: RunRow, emit: Emit, wanted: Wanted) -> None:
        self.row = row
        self.next_seq = 1
        self.final = False
        self.machine: RunMachine  # set by `open`, because the machine is made with its observer
        self._emit = emit
        self._wanted = wanted
        self._run_channel = run_channel(row.user_id, row.id)
        self._graph_channel = graph_channel(row.user_id, row.graph_id)
        self._silent = False
        self._figures_due = False

    @classmethod
    async def open(cls, run_id: str, before_seq: int, emit: Emit, wanted: Wanted) -> "WatchedRun | None":
        """The run as it was before message `before_seq`. None where it is gone, or its graph can't be read any more."""
        row = await runs.find(run_id)
        if row is None:
            return None
        watched = cls(row, emit, wanted)
        watched.machine = await runs.machine_of(row, watched)
        if before_seq > 1:
            watched._silent = True
            await watched.catch_up(before_seq)
            watched._silent = False
        return watched

    @classmethod
    async def show_end(cls, run_id: str, emit: Emit, wanted: Wanted) -> None:
        """Show the end of a run that could not be driven: there is no message about it, and maybe no machine."""
        row = await runs.find(run_id)
        if row is not None:
            cls(row, emit, wanted)._emit_run(RunEvent(**runs.row_members(row)))

    async def catch_up(self, before_seq: int | None = None) -> None:
        """Take from the journal what the stream didn't bring."""
        for segment in await runs.journal(self.row, self.next_seq):
            if before_seq is not None and segment.seq >= before_seq:
                return
            self.feed(segment.seq, segment.body)

    def accepted(self) -> None:
        """Show the run as it was when it was accepted."""
        self._show_run()

    def feed(self, seq: int, body: bytes) -> None:
        """Take one journal row. One that was seen already changes nothing."""
        if seq != self.next_seq:
            return
        messages = decode(body)
        for message in messages:
            self.machine.feed(message)
        self.next_seq += len(messages)
        if self._figures_due:
            self._show_run()

    async def take(self, record: RunRecord) -> None:
        if record.seq > self.next_seq:
            await self.catch_up(record.seq)
        if record.seq == self.next_seq:
            self.feed(record.seq, await runs.whole(record.run_id, record.body, record.handles))
        self.final = record.final

    # What the machine tells

    def node_changed(self, activation: Activation) -> None:
        if not self._silent and self._wanted(self._run_channel):
            event = NodeEvent(**runs.node_members(self.row, activation))
            message = ServerMessage(method="node_execution_event", channel=self._run_channel, data=event)
            self._emit(self._run_channel, _encode(message).decode())

    def run_changed(self) -> None:
        machine = self.machine
        if machine.node_count > MAX_FIGURE_EVENTS and machine.ended_at is None:
            self._figures_due = True
        else:
            self._show_run()

    def _show_run(self) -> None:
        self._figures_due = False
        if not self._silent:
            self._emit_run(RunEvent(**runs.run_members(self.row, self.machine, now())))

    def _emit_run(self, event: RunEvent) -> None:
        channels = [name for name in (self._run_channel, self._graph_channel) if self._wanted(name)]
        if not channels:
            return
        data = msgspec.Raw(_encode(event))
        for channel in channels:
            message = ServerMessage(method="graph_execution_event", channel=channel, data=data)
            self._emit(channel, _encode(message).decode())
