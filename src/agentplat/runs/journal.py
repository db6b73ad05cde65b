"""The journal writer: one per process, for all of its runs.

Rows that arrive while a commit is under way go into the next one, so under load one transaction carries many runs and
at low load a row waits for nothing. After the commit, and only then, the rows are published as events.

One commit at a time keeps the rows of a run in order without a lock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time_ns

import asyncpg

from agentplat.events.models import RunRecord
from agentplat.infra.telemetry import get_logger
from agentplat.runs import commits, control, mail, metrics, queries
from agentplat.runs.charging import ChargedStart, Outcome, record_charged_starts
from agentplat.runs.commits import Claim, Committed, Write

MAX_ROWS = 1000
MAX_BYTES = 16 * 1024 * 1024
RETRY_SECONDS = 0.2
PUBLISH_SECONDS = 1.0
CLOSE_SECONDS = 5.0

MAX_UNKNOWN_FAILURES = 5

Publish = Callable[[Sequence[RunRecord]], Awaitable[bool]]

_log = get_logger(__name__)


class _Entry:
    __slots__ = ("done", "graph_id", "user_id", "write")

    def __init__(self, write: Write, user_id: str, graph_id: str, done: asyncio.Future[int]) -> None:
        self.write = write
        self.user_id = user_id
        self.graph_id = graph_id
        self.done = done


class JournalWriter:
    """`owner` is the lease holder's name, `window` the least time in seconds between two commits."""

    def __init__(self, owner: str, window: float, publish: Publish) -> None:
        self._owner = owner
        self._window = window
        self._publish = publish
        self._entries: list[_Entry] = []
        self._refused: set[Claim] = set()  # what had a row that can't be written: a later one would leave a hole
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="journal-writer")

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write what is waiting, then stop. Without a database that is given up after `seconds`: what is not recorded
        has not happened, as when a worker dies, and the next one goes on from there."""
        self._closing = True
        self._wake.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        if not done:
            _log.warning("journal_given_up", rows=len(self._entries))
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=not done)

    def submit(self, write: Write, user_id: str, graph_id: str) -> asyncio.Future[int]:
        """Have a row written. The future tells when that was committed, in microseconds since the epoch; 0 says that
        the run wasn't held any more, and nothing of it was written."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._entries.append(_Entry(write, user_id, graph_id, done))
        self._wake.set()
        return done

    async def suspend(self, write: Write, taken: int, user_id: str, graph_id: str) -> bool:
        """Write the row that suspends a run, unless there is mail behind number `taken`, and publish it."""
        if write.claim in self._refused:
            return False
        if not await mail.suspend(write.run_id, write.fence, taken, write.seq, write.run_day, write.body):
            return False
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self._announce([_Entry(write, user_id, graph_id, done)])
        return True

    async def charge(self, start: ChargedStart, user_id: str, graph_id: str) -> Outcome:
        """Write a start together with its payment, or neither, and publish it.

        Without an answer nobody knows which: the error goes to the caller, who must let go of the run.
        """
        if start.write.claim in self._refused:
            return Outcome(held=False)
        outcome = (await record_charged_starts([start], self._owner))[start.write.claim]
        if outcome.paid:
            metrics.CREDITS.inc(sum(charge.amount for charge in start.charges))
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            await self._announce([_Entry(start.write, user_id, graph_id, done)])
        return outcome

    async def _run(self) -> None:
        last = 0.0
        while self._entries or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._entries:
                if not self._closing and (early := last + self._window - monotonic()) > 0:
                    await asyncio.sleep(early)
                last = monotonic()
                await self._write(self._take())

    def _take(self) -> list[_Entry]:
        size = 0
        for count, entry in enumerate(self._entries):
            size += len(entry.write.body)
            if entry.write.blobs:
                size += sum(map(len, entry.write.blobs.values()))
            if count == MAX_ROWS or (count and size > MAX_BYTES):
                batch, self._entries = self._entries[:count], self._entries[count:]
                return batch
        batch, self._entries = self._entries, []
        return batch

    async def _write(self, batch: list[_Entry]) -> None:
        if self._refused:
            batch = self._without_refused(batch)
        if not batch:
            return
        began = monotonic()
        try:
            committed = await self._commit([entry.write for entry in batch])
        except Exception as error:
            if len(batch) == 1:
                # This row can never be written. Its run must hear of it; the others must not suffer for it.
                _log.error("journal_row_refused", run_id=batch[0].write.run_id, exc_info=error)
                self._refused.add(batch[0].write.claim)
                _resolve(batch[0].done, error)
                return
            for entry in batch:
                await self._write([entry])
            return
        at = time_ns() // 1000
        written = [entry for entry in batch if entry.write.claim in committed.held]
        metrics.JOURNAL_COMMIT.observe(monotonic() - began)
        metrics.JOURNAL_ROWS.inc(len(written))
        metrics.JOURNAL_BYTES.inc(sum(len(entry.write.body) for entry in written))
        await self._announce(written)
        if letters := [letter for entry in written for letter in entry.write.letters]:
            await control.call_for_mail(letters, committed.asleep)
        for entry in batch:
            _resolve(entry.done, at if entry.write.claim in committed.held else 0)

    def _without_refused(self, batch: list[_Entry]) -> list[_Entry]:
        for entry in batch:
            if entry.write.claim in self._refused:
                _resolve(entry.done, 0)
        return [entry for entry in batch if entry.write.claim not in self._refused]

    async def _announce(self, entries: list[_Entry]) -> None:
        try:
            # A Redis that hangs must hold up nobody's commits for long.
            async with asyncio.timeout(PUBLISH_SECONDS):
                heard = await self._publish([_record(entry) for entry in entries])
            metrics.UNPUBLISHED.inc(0 if heard else len(entries))
        except Exception:
            # The rows are true whether or not somebody heard of them; who missed them reads the journal.
            metrics.UNPUBLISHED.inc(len(entries))
            _log.exception("records_not_published", rows=len(entries))

    async def _commit(self, writes: list[Write]) -> Committed:
        failures, unanswered = 0, False
        while True:
            try:
                committed = await commits.commit(writes, self._owner)
                if unanswered:
                    # An attempt without an answer may have ended runs, which are not held any more since.
                    committed.held.update(await commits.find_ended(writes))
                return committed
            except (asyncpg.DataError, asyncpg.CheckViolationError):
                raise
            except Exception as error:
                # A connection that is cut shows itself in many ways, some of them as defects of the driver.
                unanswered = True
                failures += not isinstance(error, queries.DATABASE_AWAY)
                if failures > MAX_UNKNOWN_FAILURES:
                    raise
                _log.warning("journal_commit_delayed", rows=len(writes), reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)


def _record(entry: _Entry) -> RunRecord:
    write = entry.write
    return RunRecord(
        user_id=entry.user_id,
        graph_id=entry.graph_id,
        run_id=write.run_id,
        seq=write.seq,
        body=write.announced,
        final=write.ending is not None,
    )


def _resolve(done: asyncio.Future[int], result: int | Exception) -> None:
    if done.cancelled():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
