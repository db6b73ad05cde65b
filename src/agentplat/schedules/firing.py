"""Firing what is due, by any number of schedulers at once.

One transaction claims a batch of schedules, inserts the runs, records the firings, and moves the schedules on. So a
firing and its run are both there or both not: a scheduler that is killed anywhere in between leaves everything as it
was, and the next one finds the same schedules due. No idempotency key is needed. That nothing fires twice is kept by
the lock on the schedule's row, which is held until its next time is stored, and by the key of `schedule_firings`.

What a user's schedule is refused for is recorded as a firing that failed. What breaks otherwise breaks the batch; its
schedules are then fired one by one, and the one that breaks alone is recorded as failed too, and moves on.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct, field

from agentplat.graphs.errors import GraphNotFound, GraphNotInLibrary
from agentplat.infra.errors import AppError
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger
from agentplat.infra.uow import unit_of_work
from agentplat.runs import service as runs
from agentplat.runs.models import ExecuteBody, RunRow
from agentplat.schedules import metrics, queries
from agentplat.schedules.errors import CronInvalid
from agentplat.schedules.models import FiringRow, Outcome, Request, ScheduleRow
from agentplat.schedules.queries import Advance
from agentplat.schedules.rules import Due, cron_of, due

# Of one transaction: while it lasts, nobody can change or delete them.
BATCH = 20
NEVER = "It does not fire again."
# A graph with many nodes may have a lot to complain about.
MAX_ERROR_LENGTH = 2000

next_due = queries.next_due

_requests = msgspec.json.Decoder(Request)
_log = get_logger(__name__)


class _Batch(Struct, kw_only=True):
    """What one transaction does."""

    now: datetime
    claimed: list[str] = field(default_factory=list)
    firings: list[FiringRow] = field(default_factory=list)
    advances: list[Advance] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)


async def fire_due(now: datetime) -> bool:
    """Fire what is due and nobody else has. Whether there may be more. Raises DATABASE_AWAY where that is so."""
    batch = _Batch(now=now)
    try:
        await _fire(batch)
    except runs.DATABASE_AWAY:
        raise
    except Exception:
        # Whatever it is about one of them, the others are not to wait for it.
        _log.exception("batch_not_fired", schedules=len(batch.claimed))
        for schedule_id in batch.claimed:
            await _fire_alone(schedule_id, now)
        return False  # what could not even be given up is still due: not again at once
    return len(batch.claimed) == BATCH


async def _fire(batch: _Batch, only: str | None = None, broken: bool = False) -> None:
    async with unit_of_work():
        rows = await queries.claim(batch.now, BATCH, only)
        batch.claimed = [row.id for row in rows]
        for row in rows:
            await _fire_one(row, batch, broken)
        if rows:
            await queries.record(batch.firings, batch.advances)
    # Whatever becomes of this, the runs are there, and workers look for such runs by themselves.
    if batch.runs:
        await runs.announce(*batch.runs)
    for firing in batch.firings:
        metrics.fired(firing)


async def _fire_alone(schedule_id: str, now: datetime) -> None:
    for broken in (False, True):
        try:
            await _fire(_Batch(now=now), schedule_id, broken)
            return
        except runs.DATABASE_AWAY:
            raise
        except Exception:
            # The second time around there is nothing left that could be tried: it stays due, and the others go on.
            _log.exception("schedule_not_fired", schedule_id=schedule_id, given_up=broken)


async def _fire_one(row: ScheduleRow, batch: _Batch, broken: bool) -> None:
    assert row.next_run_at is not None  # or it would not be due
    before = len(batch.firings)
    try:
        todo = _todo(row, row.next_run_at, batch.now)
        pause_reason = None if todo.next else NEVER
    except CronInvalid as error:
        # It was checked when it was stored, by another version of the platform or of the zones.
        todo = Due(fire=[], left_out=None, next=None)
        pause_reason = f"Its times can't be told any more: {error}"
        batch.firings.append(_firing(row, row.next_run_at, batch.now, code="schedule_invalid", error=pause_reason))
    if todo.left_out is not None and not _is_over(row, todo.left_out):
        missed = "It was missed while no scheduler ran, and perhaps others after it."
        batch.firings.append(
            _firing(row, todo.left_out, batch.now, Outcome.SKIPPED, code="missed", error=missed),
        )
    for scheduled_at in todo.fire:
        if _is_over(row, scheduled_at):
            continue
        if broken:
            batch.firings.append(_firing(row, scheduled_at, batch.now, code="internal", error=str(AppError())))
            continue
        firing, gone = await _start(row, scheduled_at, batch)
        batch.firings.append(firing)
        pause_reason = gone or pause_reason
    last = batch.firings[-1] if len(batch.firings) > before else None
    batch.advances.append(
        Advance(id=row.id, next_run_at=None if pause_reason else todo.next, pause_reason=pause_reason, last=last)
    )


def _is_over(row: ScheduleRow, scheduled_at: datetime) -> bool:
    """Whether it has fired for that time. Its next time may be set by a machine whose clock is behind."""
    return row.last_scheduled_at is not None and scheduled_at <= row.last_scheduled_at


def _todo(row: ScheduleRow, since: datetime, now: datetime) -> Due:
    window = timedelta(seconds=get_settings().schedule_missed_window_seconds)
    return due(cron_of(row.cron, row.timezone), since, now, row.missed_runs, window)


async def _start(row: ScheduleRow, scheduled_at: datetime, batch: _Batch) -> tuple[FiringRow, str | None]:
    """What came of one firing, and why the schedule is to be paused, if it is."""
    request = _requests.decode(row.request)
    body = ExecuteBody(inputs=request.inputs, credentials_inputs=request.credentials)
    try:
        run = await runs.enlist(row.user_id, row.graph_id, row.graph_version, body)
    except AppError as error:
        # Nothing was said to the database that it has not understood: the transaction is in order.
        _log.info("run_refused", schedule_id=row.id, code=error.code)
        refused = _firing(row, scheduled_at, batch.now, code=error.code, error=str(error)[:MAX_ERROR_LENGTH])
        return refused, error.message if isinstance(error, GraphNotFound | GraphNotInLibrary) else None
    batch.runs.append(run)
    return _firing(row, scheduled_at, batch.now, Outcome.STARTED, run_id=run.id), None


def _firing(
    row: ScheduleRow,
    scheduled_at: datetime,
    fired_at: datetime,
    outcome: Outcome = Outcome.FAILED,
    run_id: str | None = None,
    code: str | None = None,
    error: str | None = None,
) -> FiringRow:
    return FiringRow(
        schedule_id=row.id,
        scheduled_at=scheduled_at,
        fired_at=fired_at,
        outcome=outcome,
        run_id=run_id,
        code=code,
        # It may quote an input, and Postgres can't hold this one character.
        error=error and error.replace("\0", ""),
    )
