"""A run that somebody watches: its fold, kept up to date, and its latest events for those who come back.

Records from the stream and rows of the journal are the same rows, so it doesn't matter which of them brings a row: one
that was seen changes nothing, and one that leaves a hole has the journal read instead. The fold is only touched under
`lock`; records that arrive meanwhile are kept, or forgotten if they are many, since the journal has them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from time import monotonic

from agentplat.engine.state import FINAL
from agentplat.events.models import WITHOUT_MESSAGES, RunRecord
from agentplat.realtime.fold import Fold, Keep
from agentplat.realtime.frames import Event
from agentplat.runs import service as runs

# The latest events of a run, for clients that were away for some seconds.
RECENT_EVENTS = 512
RECENT_BYTES = 256 * 1024
MAX_PENDING = 256
ROWS_AT_ONCE = 200
# How long folding holds up everybody else.
SLICE_SECONDS = 0.002
# A position that every row is at or before.
END = 2**31

Emit = Callable[["WatchedRun", list[Event], int, float | None], None]
"""Called with events, the number of the last one before them, and when their row was published, if that is known."""


class WatchedRun:
    """`silent_through`: rows that begin up to this message number were there before anybody watched, and make no
    events; 0 is the acceptance, -1 is before it, END is all that there is when the run is opened. None is not known
    yet: then it is what comes before the first record, or nothing of a run that was accepted after `since`.

    It costs nothing to speak of until there is something to show: it is opened then.
    """

    def __init__(
        self,
        run_id: str,
        user_id: str,
        graph_id: str,
        emit: Emit,
        silent_through: int | None,
        since: datetime | None = None,
    ) -> None:
        self.run_id = run_id
        self.user_id = user_id
        self.graph_id = graph_id
        self.silent_through = silent_through
        self.lock = asyncio.Lock()
        self.fold: Fold | None = None
        self.created_at: datetime | None = None
        self.resume_after: int | None = None  # events behind it are wanted, though they were there before
        self.keep = Keep.ALL
        self.holds = 0  # by replays, which end by joining this
        self.checked_at = -2  # the row that it stood at when it was last looked at
        self.over = False  # nothing follows, or nothing can be told any more
        self.queued = 0  # what was emitted, and has not reached the subscribers
        self.heard = 0  # while something is queued: the event before it
        self.gone = False  # there is no such run (any more), or no journal of it
        self.pending: list[RunRecord] = []
        self.behind = False  # the journal has to be read
        self._emit = emit
        self._since = since
        self._recent: deque[Event] = deque()
        self._recent_bytes = 0
        self._complete_after = 0  # every event behind this number was put into `_recent`

    @property
    def number(self) -> int:
        return 0 if self.fold is None else self.fold.number

    @property
    def told(self) -> bool:
        """Whether subscribers hear no more of it."""
        return self.over and not self.queued

    @property
    def row_seq(self) -> int:
        """Where it stands in the journal, as far as that is known."""
        return self.fold.row_seq if self.fold is not None else (self.silent_through or 0)

    @property
    def due(self) -> bool:
        """Whether there is something to do."""
        return not self.over and (self.behind or bool(self.pending))

    def note(self, record: RunRecord) -> None:
        """Keep a record for later."""
        if len(self.pending) < MAX_PENDING:
            self.pending.append(record)
        else:
            self.behind = True

    def recent(self, after: int) -> list[Event] | None:
        """All events behind that number, or None where they are not all kept."""
        first = self._recent[0].number if self._recent else self.number + 1
        if after < max(self._complete_after, first - 1):
            return None
        return [event for event in self._recent if event.number > after]

    # Under the lock

    async def take(self, record: RunRecord) -> None:
        """Take a record, if it is the next one. One that can't be taken as it is leaves the journal to be read."""
        fold = self.fold
        assert fold is not None
        if record.seq == fold.next_seq and record.body is not None:
            await self._feed(record.seq, record.body, record.published)
        elif record.seq >= fold.next_seq or record.seq == WITHOUT_MESSAGES:
            self.behind = True

    async def bring_up(self) -> None:
        """Take all there is: the journal where that is needed, then the records that were kept."""
        if self.fold is None and not await self._open():
            return
        assert self.fold is not None
        while self.due:
            if self.behind:
                self.behind = False
                try:
                    await self._read()
                except BaseException:
                    self.behind = True
                    raise
            pending, self.pending = self.pending, []
            for record in pending:
                if not self.over:
                    await self.take(record)
        if self.silent_through == END:
            self.silent_through = self.fold.row_seq

    async def _open(self) -> bool:
        row = await runs.find(self.run_id)
        if row is None:
            self.over = self.gone = True
            return False
        fold = await Fold.open(row)
        if self.silent_through is None:
            first = self.pending[0].seq if self.pending else 1
            self.silent_through = 0 if first == WITHOUT_MESSAGES else first - 1
            if self._since is not None and row.created_at >= self._since:
                self.silent_through = -1
        # The journal need not be read for a run that has just been accepted: all of its records are here.
        self.behind = not self.pending or self.pending[0].seq != 0
        self.created_at = row.created_at
        self.fold = fold
        silent = self.silent_through >= 0
        self._made(fold.begin(self._kept(fold, silent)), 0, silent, None)
        return True

    async def _read(self) -> None:
        """Everything that the journal has. The row is read before it: what a final row says is then in the journal."""
        row = await runs.find(self.run_id)
        fold = self.fold
        assert fold is not None
        if row is None:
            self.over = self.gone = True
            return
        while rows := await runs.read_rows(row, fold.row_seq, ROWS_AT_ONCE):
            for one in rows:
                await self._feed(one.seq, one.body, None)
            if fold.machine is None or len(rows) < ROWS_AT_ONCE:
                break
        if row.status in FINAL and not fold.final:
            if row.node_executions is None or fold.machine is None:
                before = fold.number
                silent = self.silent_through == END
                self._made(fold.end(row, self._kept(fold, silent)), before, silent, None)
            else:
                self.gone = True
            self.over = True

    async def _feed(self, seq: int, body: bytes, published: float | None) -> None:
        fold = self.fold
        assert fold is not None
        assert self.silent_through is not None
        silent, began = seq <= self.silent_through, monotonic()
        before = fold.number
        for events in fold.feed(seq, body, self._kept(fold, silent)):
            self._made(events, before, silent, published)
            before = fold.number
            if monotonic() - began > SLICE_SECONDS:
                await asyncio.sleep(0)
                began = monotonic()

    def _kept(self, fold: Fold, silent: bool) -> Keep:
        fold.keep_after = (self.resume_after or 0) if silent else 0
        return Keep.NOTHING if silent and self.resume_after is None else self.keep

    def _made(self, events: list[Event], before: int, silent: bool, published: float | None) -> None:
        """Remember events, and show them. `before` is the number of the last one that precedes them."""
        assert self.fold is not None
        if self.fold.keep is not Keep.ALL:
            self._complete_after = self.fold.number
        self._complete_after = max(self._complete_after, min(self.fold.keep_after, self.fold.number))
        for event in events:
            self._recent.append(event)
            self._recent_bytes += event.size
        while len(self._recent) > RECENT_EVENTS or self._recent_bytes > RECENT_BYTES:
            self._recent_bytes -= self._recent.popleft().size
        if self.fold.final:
            self.over = True
        if not silent:
            self._emit(self, events, before, published)
