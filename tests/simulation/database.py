"""The tables of runs and the statements on them, as far as leases and journals go: `runs/queries.py` in memory."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from agentplat.engine.messages import Message
from agentplat.engine.state import FINAL, Status

LEASE = 2.0
# A queued run is left to its queue job for this long before a sweep takes it.
PATIENCE = 1.0


class Rules(Struct, frozen=True):
    """What the platform promises itself. A test breaks one on purpose and must see that it is noticed."""

    fence_is_checked: bool = True
    fence_is_checked_per_row: bool = True
    effects_wait_for_commit: bool = True
    recorded_outputs_are_known: bool = True
    interrupted_effects_fail: bool = True
    own_runs_are_not_claimed: bool = True


class Row(Struct):
    id: int
    created_at: float
    status: Status = Status.QUEUED
    fence: int = 0
    owner: str | None = None
    lease_until: float | None = None
    stop_requested: bool = False
    ending: Any = None


class Segment(Struct, frozen=True):
    seq: int
    fence: int
    messages: Sequence[Message]


class Write(Struct, frozen=True):
    run_id: int
    seq: int
    fence: int
    messages: Sequence[Message]
    status: Status | None = None
    ending: Any = None


class Database:
    """Each method is one statement, hence one transaction."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.rows: list[Row] = []
        self.journal: dict[int, dict[int, Segment]] = {}

    def insert(self, at: float) -> int:
        row = Row(len(self.rows), at)
        self.rows.append(row)
        self.journal[row.id] = {}
        return row.id

    def claim(self, run_id: int, owner: str, now: float) -> Row | None:
        row = self.rows[run_id]
        if row.status in FINAL or (row.lease_until is not None and row.lease_until >= now):
            return None
        row.status, row.owner, row.lease_until = Status.RUNNING, owner, now + LEASE
        row.fence += 1
        return Row(row.id, row.created_at, row.status, row.fence, owner, row.lease_until, row.stop_requested)

    def renew(self, run_ids: Iterable[int], owner: str, now: float) -> dict[int, bool]:
        held = [row for row in map(self.rows.__getitem__, run_ids) if self._is_held(row, owner)]
        for row in held:
            row.lease_until = now + LEASE
        return {row.id: row.stop_requested for row in held}

    def release(self, run_ids: Iterable[int], owner: str) -> None:
        for row in map(self.rows.__getitem__, run_ids):
            if self._is_held(row, owner):
                row.owner = row.lease_until = None

    def commit(self, writes: Sequence[Write], owner: str) -> set[tuple[int, int]]:
        """Writes what is held, and returns which runs under which fences these are."""
        held = {(one.run_id, one.fence) for one in writes if self._may_write(one, owner)}
        if not self._rules.fence_is_checked_per_row:
            runs = {run_id for run_id, _ in held}
            held = {(one.run_id, one.fence) for one in writes if one.run_id in runs}
        for one in writes:
            if (one.run_id, one.fence) not in held:
                continue
            self.journal[one.run_id].setdefault(one.seq, Segment(one.seq, one.fence, one.messages))
            if one.status is not None:
                row = self.rows[one.run_id]
                row.status, row.ending, row.owner, row.lease_until = one.status, one.ending, None, None
        return held

    def _may_write(self, write: Write, owner: str) -> bool:
        row = self.rows[write.run_id]
        if not self._rules.fence_is_checked:
            return row.status is Status.RUNNING
        return self._is_held(row, owner) and row.fence == write.fence

    @staticmethod
    def _is_held(row: Row, owner: str) -> bool:
        return row.owner == owner and row.status is Status.RUNNING

    def segments(self, run_id: int) -> list[Segment]:
        found = self.journal[run_id]
        return [found[seq] for seq in sorted(found)]

    def stranded(self, now: float) -> list[int]:
        return [
            row.id
            for row in self.rows
            if (row.status is Status.RUNNING and (row.lease_until is None or row.lease_until < now))
            or (row.status is Status.QUEUED and row.created_at < now - PATIENCE)
        ]

    def request_stop(self, run_id: int) -> None:
        row = self.rows[run_id]
        if row.status not in FINAL:
            row.stop_requested = True
