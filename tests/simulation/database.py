"""The tables of runs and the statements on them, as far as leases and journals go: `runs/queries.py` in memory."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agentplat.engine.messages import Message
from agentplat.engine.state import FINAL, Status
from agentplat.runs.letters import Letter, ReviewAnswered

LEASE = 2.0
# A queued run is left to its queue job for this long before a sweep takes it.
PATIENCE = 1.0
# What can be paid for in all.
PURSE = 2

# The run that a letter is for, and the letter.
Addressed = tuple[int, Letter]


class Rules(Struct, frozen=True):
    """What the platform promises itself. A test breaks one on purpose and must see that it is noticed."""

    fence_is_checked: bool = True
    fence_is_checked_per_row: bool = True
    effects_wait_for_commit: bool = True
    recorded_outputs_are_known: bool = True
    interrupted_effects_fail: bool = True
    own_runs_are_not_claimed: bool = True
    starts_are_paid_in_their_row: bool = True
    letters_go_with_their_row: bool = True
    taken_letters_are_known: bool = True
    early_answers_wait: bool = True
    letters_are_read_one_by_one: bool = True
    only_runs_under_way_ask: bool = True
    parking_looks_for_mail: bool = True
    suspending_looks_for_mail: bool = True
    recorded_calls_are_known: bool = True
    stops_go_before_ends: bool = True


class Mailbox(Struct):
    letters: list[Letter] = []
    parked: bool = False


class Review(Struct):
    """`approved` is None while it waits for somebody."""

    approved: bool | None = None


class Row(Struct):
    """`level` is the graph that it runs: each runs the next one. `parent` is a run and an activation of it."""

    id: int
    created_at: float
    level: int = 0
    parent: tuple[int, int] | None = None
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
    letters: Sequence[Addressed] = ()


class Charged(Struct, frozen=True):
    held: bool
    paid: bool


class Database:
    """Each method is one statement, hence one transaction."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.rows: list[Row] = []
        self.journal: dict[int, dict[int, Segment]] = {}
        self.children: dict[tuple[int, int], int] = {}
        self.mailboxes: dict[int, Mailbox] = {}
        self.reviews: dict[tuple[int, int], Review] = {}
        self.purse = PURSE
        # What was paid for, by run and activation, as often as it was.
        self.ledger: list[tuple[int, int]] = []

    def insert(self, at: float, level: int = 0, parent: tuple[int, int] | None = None) -> int:
        row = Row(len(self.rows), at, level, parent)
        self.rows.append(row)
        self.journal[row.id] = {}
        return row.id

    def insert_child(self, parent: Row, activation: int, at: float) -> int:
        """Its id follows from its parent and the activation: starting it again finds it."""
        self.mailboxes.setdefault(parent.id, Mailbox())
        key = (parent.id, activation)
        if key not in self.children:
            self.children[key] = self.insert(at, parent.level + 1, key)
        return self.children[key]

    def claim(self, run_id: int, owner: str, now: float) -> Row | None:
        row = self.rows[run_id]
        asleep = row.status is Status.REVIEW and not row.stop_requested
        if row.status in FINAL or asleep or (row.lease_until is not None and row.lease_until >= now):
            return None
        row.status, row.owner, row.lease_until = Status.RUNNING, owner, now + LEASE
        row.fence += 1
        return replace(row)

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
        """Writes what is held, and returns which runs under which fences these are. Letters go with a row that is new.

        Of a row that was there already (a commit without an answer, sent again) they are delivered already.
        """
        held = {(one.run_id, one.fence) for one in writes if self._may_write(one, owner)}
        if not self._rules.fence_is_checked_per_row:
            runs = {run_id for run_id, _ in held}
            held = {(one.run_id, one.fence) for one in writes if one.run_id in runs}
        for one in writes:
            if (one.run_id, one.fence) not in held:
                continue
            if one.seq not in self.journal[one.run_id] or not self._rules.letters_go_with_their_row:
                self.deliver(one.letters)
            self.journal[one.run_id].setdefault(one.seq, Segment(one.seq, one.fence, one.messages))
            if one.status is not None:
                row = self.rows[one.run_id]
                row.status, row.ending, row.owner, row.lease_until = one.status, one.ending, None, None
                self._give_up_reviews(row.id)
        return held

    def charge(self, write: Write, activation: int, owner: str) -> Charged:
        """The start of one activation with its payment, or neither."""
        together = self._rules.starts_are_paid_in_their_row
        if together and not self._may_write(write, owner):
            return Charged(held=False, paid=False)
        if write.seq not in self.journal[write.run_id]:
            if not self.purse:
                return Charged(held=True, paid=False)
            self.purse -= 1
            self.ledger.append((write.run_id, activation))
        if not self._may_write(write, owner):
            return Charged(held=False, paid=False)
        self.journal[write.run_id].setdefault(write.seq, Segment(write.seq, write.fence, write.messages))
        return Charged(held=True, paid=True)

    # Mail and people

    def deliver(self, letters: Sequence[Addressed]) -> None:
        for run_id, letter in letters:
            if box := self.mailboxes.get(run_id):
                box.letters.append(letter)
                box.parked = False

    def read_mail(self, run_id: int, after: int) -> list[tuple[int, Letter]]:
        box = self.mailboxes.get(run_id)
        return [] if box is None else list(enumerate(box.letters, 1))[after:]

    def park(self, row: Row, taken: int) -> bool:
        box = self.mailboxes.get(row.id)
        looks = self._rules.parking_looks_for_mail
        if box is None or (looks and len(box.letters) != taken) or not self._is_current(row):
            return False
        box.parked = True
        self.rows[row.id].owner = self.rows[row.id].lease_until = None
        return True

    def suspend(self, row: Row, taken: int, write: Write) -> bool:
        box = self.mailboxes.get(row.id)
        looks = self._rules.suspending_looks_for_mail
        if box is None or (looks and len(box.letters) != taken) or not self._is_current(row):
            return False
        box.parked = True
        stored = self.rows[row.id]
        stored.status, stored.owner, stored.lease_until = Status.REVIEW, None, None
        self.journal[row.id].setdefault(write.seq, Segment(write.seq, write.fence, write.messages))
        return True

    def _is_current(self, row: Row) -> bool:
        stored = self.rows[row.id]
        return stored.fence == row.fence and stored.status is Status.RUNNING and stored.owner is not None

    def close_mailbox(self, run_id: int) -> None:
        self.mailboxes.pop(run_id, None)

    def close_left_open(self) -> None:
        for run_id in [one for one in self.mailboxes if self.rows[one].status in FINAL]:
            self.close_mailbox(run_id)

    def ask(self, run_id: int, activation: int) -> None:
        if self.rows[run_id].status is Status.RUNNING or not self._rules.only_runs_under_way_ask:
            self.mailboxes.setdefault(run_id, Mailbox())
            self.reviews.setdefault((run_id, activation), Review())

    def answer(self, run_id: int, activation: int, approved: bool) -> bool:
        """What a reviewer decides: recorded, sent to the run, and the run woken if nothing else is asked. Of two who
        decide the first one does."""
        review, row = self.reviews[run_id, activation], self.rows[run_id]
        if review.approved is not None or row.status in FINAL:
            return False
        review.approved = approved
        self.deliver([(run_id, ReviewAnswered(activation, approved, {"a": 1, "add": 1}, False, "said"))])
        waiting = any(one.approved is None for (asker, _), one in self.reviews.items() if asker == run_id)
        if row.status is Status.REVIEW and not waiting:
            row.status = Status.QUEUED
        return True

    def _give_up_reviews(self, run_id: int) -> None:
        for (asker, _), review in self.reviews.items():
            if asker == run_id and review.approved is None:
                review.approved = False

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
            if (row.status is Status.RUNNING and not self._is_looked_after(row, now))
            or (row.status is Status.QUEUED and row.created_at < now - PATIENCE)
            or (row.status is Status.REVIEW and row.stop_requested)
        ]

    def _is_looked_after(self, row: Row, now: float) -> bool:
        if row.lease_until is not None:
            return row.lease_until >= now
        return row.id in self.mailboxes and self.mailboxes[row.id].parked and not row.stop_requested

    def request_stop(self, run_id: int) -> list[int]:
        """Of a run and all runs below it."""
        row = self.rows[run_id]
        if row.status in FINAL:
            return []
        row.stop_requested = True
        below = [child for (parent, _), child in self.children.items() if parent == run_id]
        return [run_id, *(one for child in below for one in self.request_stop(child))]
