"""From a run's row and journal to its numbered events.

The same rows give the same events with the same numbers, in any process at any time: nothing here looks at a clock or
at who is listening. What nobody wants is counted and not encoded.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import msgspec

from agentplat.engine.activation import Activation
from agentplat.engine.compile import CompileError
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import decode
from agentplat.engine.state import FINAL, Status
from agentplat.infra.errors import AppError, Unavailable
from agentplat.realtime.frames import CHUNK_BYTES, CHUNK_EVENTS, Event
from agentplat.realtime.models import NodeEvent, RunEvent
from agentplat.realtime.oversize import fitted
from agentplat.runs import service as runs
from agentplat.runs.models import RunRow, Stats

# A run with more node executions than this shows its figures at the end of a journal row, not after each of them, and
# not at the end of each: every run event carries all outputs so far, so showing them all would cost the square of their
# number. The first one shows that has 1/50 more executions than the one before, or is a second later.
MAX_FIGURE_EVENTS = 200
FIGURES_GROWTH = 50
FIGURES_MICROSECONDS = 1_000_000
# Messages that are applied between two chances for others to run.
SLICE_MESSAGES = 32

_encode = msgspec.json.Encoder().encode


class Keep(IntEnum):
    """Which events are to be encoded."""

    NOTHING = 0
    RUN_EVENTS = 1
    ALL = 2


class Fold:
    """Folds one run. `number` is that of its latest event, `next_seq` that of the first message it has not seen,
    `row_seq` that of the first message of the latest row that it has seen (0: none).
    """

    def __init__(self, row: RunRow) -> None:
        self.row = row
        self.number = 0
        self.next_seq = 1
        self.row_seq = 0
        self.ended = False
        self.machine: RunMachine | None = None
        self.keep = Keep.NOTHING
        self.keep_after = 0  # events up to this number are not wanted either
        self._at = runs.microseconds(row.created_at)
        self._events: list[Event] = []
        self._size = 0  # of these, in bytes
        self._figures_due = False
        self._figures_shown = (0, 0)  # after so many node executions, at that time
        self._status_shown = Status.QUEUED

    @classmethod
    async def open(cls, row: RunRow) -> "Fold":
        """Before its first event. A run without a machine (its graph is gone, or a block of it) has only a beginning
        and an end."""
        fold = cls(row)
        try:
            fold.machine = await runs.machine_of(row, fold)
        except Unavailable:
            raise
        except (AppError, CompileError):
            fold.machine = None
        return fold

    @property
    def final(self) -> bool:
        """Whether no event can follow."""
        return self.ended or (self.machine is not None and self.machine.status in FINAL)

    def begin(self, keep: Keep) -> list[Event]:
        """The first event: the run as it was accepted."""
        self.keep = keep
        self._show_run()
        return self._taken()

    def feed(self, seq: int, body: bytes, keep: Keep) -> Iterator[list[Event]]:
        """Take one journal row, in slices. Must be iterated to the end before anything else is asked."""
        if seq != self.next_seq or self.machine is None:
            return
        self.keep = keep
        messages = decode(body)
        for count, message in enumerate(messages, 1):
            self._at = message.at
            self.machine.feed(message)
            if len(self._events) >= CHUNK_EVENTS or self._size > CHUNK_BYTES or count % SLICE_MESSAGES == 0:
                yield self._taken()
        self.next_seq += len(messages)
        self.row_seq = seq
        if self._figures_due and self._figures_are_news():
            self._show_run()
        yield self._taken()

    def end(self, row: RunRow, keep: Keep) -> list[Event]:
        """The last event of a run that was ended without a message: it could not be driven (any more)."""
        self.row, self.ended = row, True
        self.keep = keep
        self._show_run()
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events, self._size = self._events, [], 0
        return events

    # State, for snapshots

    def execution(self) -> RunEvent:
        """The run as the latest event had it, or as it is since, where figures were left out."""
        if self.ended:
            return RunEvent(**runs.row_members(self.row))
        if self.machine is None:
            return RunEvent(**_without_machine(self.row))
        return RunEvent(**runs.run_members(self.row, self.machine, self._at))

    def nodes(self) -> Iterator[NodeEvent]:
        for activation in self.machine.activations if self.machine is not None else ():
            yield NodeEvent(**runs.node_members(self.row, activation))

    # What the machine tells

    def node_changed(self, activation: Activation) -> None:
        self.number += 1
        if self.keep is Keep.ALL and self.number > self.keep_after:
            self._add(activation.node.id, NodeEvent(**runs.node_members(self.row, activation)))

    def run_changed(self) -> None:
        machine = self.machine
        assert machine is not None
        if machine.node_count > MAX_FIGURE_EVENTS and machine.status is self._status_shown:
            self._figures_due = True
        else:
            self._show_run()

    def _figures_are_news(self) -> bool:
        assert self.machine is not None
        count, at = self._figures_shown
        return (self.machine.node_count - count) * FIGURES_GROWTH > count or (self._at - at >= FIGURES_MICROSECONDS)

    def _show_run(self) -> None:
        self._figures_due = False
        if self.machine is not None:
            self._status_shown = self.machine.status
            self._figures_shown = (self.machine.node_count, self._at)
        self.number += 1
        if self.keep is not Keep.NOTHING and self.number > self.keep_after:
            self._add(None, self.execution())

    def _add(self, node_id: str | None, event: RunEvent | NodeEvent) -> None:
        data = fitted(_encode(event))
        self._size += len(data)
        self._events.append(Event(self.number, node_id, data.decode(), len(data)))


def _without_machine(row: RunRow) -> dict[str, Any]:
    beginning: dict[str, Any] = {
        "status": Status.QUEUED,
        "started_at": None,
        "ended_at": None,
        "stats": Stats(),
        "outputs": {},
    }
    return runs.row_members(row) | beginning
