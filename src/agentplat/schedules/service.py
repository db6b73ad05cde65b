"""Schedules as their owners know them: make, look at, change, pause, delete."""

from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from agentplat.accounts import service as accounts
from agentplat.accounts.errors import TimezoneUnknown
from agentplat.accounts.models import User
from agentplat.events import facts
from agentplat.graphs.errors import GraphNotFound
from agentplat.infra.clock import now
from agentplat.infra.ids import is_id, new_id
from agentplat.infra.settings import get_settings
from agentplat.infra.uow import after_commit, unit_of_work
from agentplat.runs import service as runs
from agentplat.runs.models import ExecuteBody, RunMeta
from agentplat.schedules import control, queries, rules
from agentplat.schedules.errors import CronInvalid, CronRefused, ScheduleInvalid, ScheduleNotFound, TooManySchedules
from agentplat.schedules.events import ScheduleMade
from agentplat.schedules.models import (
    ChangeSchedule,
    CreateSchedule,
    Credentials,
    Firings,
    Inputs,
    MissedRuns,
    Preview,
    Request,
    Schedule,
    ScheduleRow,
)
from agentplat.schedules.rules import Cron

# A list shows the inputs of all schedules of a user.
MAX_REQUEST_BYTES = 256 * 1024
PAUSED = "Its owner has paused it."

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_requests = msgspec.json.Decoder(Request)


# --- reading


async def list_(user: User) -> list[Schedule]:
    """The newest first."""
    return [_shown(row) for row in await queries.list_of_user(user.id)]


async def list_of_graph(user: User, graph_id: str) -> list[Schedule]:
    return [_shown(row) for row in await queries.list_of_graph(user.id, graph_id)] if is_id(graph_id) else []


async def get(user: User, schedule_id: str) -> Schedule:
    return _shown(await _row(user, schedule_id))


async def firings(user: User, schedule_id: str, before: datetime | None, limit: int) -> Firings:
    """What became of its firings, the newest first."""
    if before is not None:
        before = _checked(before)
    zone, _ = _times(await _row(user, schedule_id))
    found = await queries.firings(user.id, schedule_id, before, limit)
    return Firings(
        firings=[
            replace(one, scheduled_at=one.scheduled_at.astimezone(zone), fired_at=one.fired_at.astimezone(zone))
            for one in found
        ],
        next_before=found[-1].scheduled_at if len(found) == limit else None,
    )


async def preview(user: User, cron: str, timezone: str | None, count: int) -> Preview:
    """When a schedule would fire next."""
    return _preview(cron, await _zone(user, timezone, "query"), count)


async def preview_of(user: User, schedule_id: str, count: int) -> Preview:
    row = await _row(user, schedule_id)
    return _preview(row.cron, row.timezone, count)


def _preview(cron: str, zone: str, count: int) -> Preview:
    return Preview(cron=cron, timezone=zone, times=rules.preview(_cron(cron, zone), now(), count))


async def _row(user: User, schedule_id: str) -> ScheduleRow:
    row = await queries.get(user.id, schedule_id) if is_id(schedule_id) else None
    if row is None:
        raise ScheduleNotFound(schedule_id)
    return row


def _shown(row: ScheduleRow) -> Schedule:
    request = _requests.decode(row.request)
    zone, following = _times(row)
    return Schedule(
        id=row.id,
        schedule_id=row.id,
        name=row.name,
        user_id=row.user_id,
        graph_id=row.graph_id,
        graph_version=row.graph_version,
        agent_name=row.agent_name,
        cron=row.cron,
        input_data=request.inputs,
        input_credentials=request.credentials,
        next_run_time=following.astimezone(zone),
        timezone=row.timezone,
        missed_runs=row.missed_runs,
        paused=row.next_run_at is None,
        pause_reason=row.pause_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_run_time=row.last_scheduled_at and row.last_scheduled_at.astimezone(zone),
        last_run_id=row.last_run_id,
        last_outcome=row.last_outcome,
    )


def _checked(before: datetime) -> datetime:
    try:
        if before.tzinfo is not None:
            return before.astimezone(UTC)
    except OverflowError:
        pass
    raise ScheduleInvalid.at("Expected a time with its offset from UTC, within the years 1 to 9999", "query", "before")


def _times(row: ScheduleRow) -> tuple[ZoneInfo, datetime]:
    """Its zone, and when it fires next, or would if it were resumed. One whose times this machine can't tell (any more)
    is paused when it is due; it is shown in UTC, with a time that is over."""
    try:
        cron = rules.cron_of(row.cron, row.timezone)
    except CronInvalid:
        return ZoneInfo("UTC"), row.next_run_at or row.updated_at
    return cron.zone, row.next_run_at or cron.next_after(now()) or row.updated_at


# --- changing


async def create(user: User, graph_id: str, body: CreateSchedule) -> Schedule:
    """Everything that would be wrong with a run is refused here already, but for the balance."""
    zone = await _zone(user, body.timezone, "body")
    following = _following(body.cron, zone, None)
    request = _request(body.inputs, body.credentials)
    version = await _version(user, graph_id, body.graph_version, body.inputs, body.credentials)
    moment = now()
    row = ScheduleRow(
        id=new_id(),
        user_id=user.id,
        graph_id=graph_id,
        graph_version=version,
        name=body.name,
        cron=body.cron,
        timezone=zone,
        missed_runs=body.missed_runs or MissedRuns(get_settings().schedule_missed_runs),
        request=request,
        next_run_at=following,
        last_scheduled_at=None,
        last_run_id=None,
        last_outcome=None,
        pause_reason=None,
        created_at=moment,
        updated_at=moment,
    )
    match await queries.insert(row, get_settings().max_schedules_per_user):
        case None:
            raise GraphNotFound(graph_id, version)
        case False:
            raise TooManySchedules
    await control.call()
    await facts.tell(ScheduleMade(user_id=user.id))
    return await get(user, row.id)


async def change(user: User, schedule_id: str, changes: ChangeSchedule) -> Schedule:
    """Members that are left out stay. Other times count from now on; what was due before is not made up for."""
    if any(one is not UNSET for one in (changes.graph_version, changes.inputs, changes.credentials)):
        row = await _row(user, schedule_id)
        inputs, credentials = _merged(row, changes)
        await _version(user, row.graph_id, _given(changes.graph_version, row.graph_version), inputs, credentials)
    zone = UNSET if changes.timezone is UNSET else await _zone(user, changes.timezone, "body")
    async with unit_of_work():
        locked = await _locked(user, schedule_id, _given(changes.graph_version, None))
        changed = replace(
            locked,
            graph_version=_given(changes.graph_version, locked.graph_version),
            name=_given(changes.name, locked.name),
            cron=_given(changes.cron, locked.cron),
            timezone=_given(zone, locked.timezone),
            missed_runs=_given(changes.missed_runs, locked.missed_runs),
            request=_request(*_merged(locked, changes)),
            updated_at=now(),
        )
        if (changed.cron, changed.timezone) != (locked.cron, locked.timezone):
            following = _following(changed.cron, changed.timezone, locked.last_scheduled_at)
            changed = replace(changed, next_run_at=following if locked.next_run_at else None)
        changed = await queries.update(changed)
        after_commit(control.call)
    return _shown(changed)


async def pause(user: User, schedule_id: str) -> Schedule:
    """Have it fire no more until it is resumed. One that is paused stays as it is."""
    return await _set_paused(user, schedule_id, True)


async def resume(user: User, schedule_id: str) -> Schedule:
    """Have it fire again, from the next time on. What came up meanwhile was not missed, and is not made up for."""
    return await _set_paused(user, schedule_id, False)


async def _set_paused(user: User, schedule_id: str, paused: bool) -> Schedule:
    async with unit_of_work():
        row = await _locked(user, schedule_id)
        if paused != (row.next_run_at is None):
            following = None if paused else _following(row.cron, row.timezone, row.last_scheduled_at)
            reason = PAUSED if paused else None
            row = await queries.update(replace(row, next_run_at=following, pause_reason=reason, updated_at=now()))
            after_commit(control.call)
    return _shown(row)


async def _locked(user: User, schedule_id: str, version: int | None = None) -> ScheduleRow:
    row = await queries.lock(user.id, schedule_id, version) if is_id(schedule_id) else None
    if row is None:
        raise ScheduleNotFound(schedule_id)
    return row


async def delete(user: User, schedule_id: str) -> dict[str, str]:
    """Its history goes with it; its runs stay."""
    if not is_id(schedule_id) or not await queries.delete(user.id, schedule_id):
        raise ScheduleNotFound(schedule_id)
    return {"id": schedule_id}


async def run_now(user: User, schedule_id: str) -> RunMeta:
    """Start what it would start, besides its times: that is no firing."""
    row = await _row(user, schedule_id)
    request = _requests.decode(row.request)
    body = ExecuteBody(inputs=request.inputs, credentials_inputs=request.credentials)
    return await runs.start(user.id, row.graph_id, row.graph_version, body)


async def retire(days: int, dry_run: bool) -> int:
    """Forget firings of more than so many days ago. How many there are, or were."""
    before = now() - timedelta(days=days)
    return await (queries.count_firings(before) if dry_run else queries.delete_firings(before))


def _given(value: T | UnsetType, otherwise: T) -> T:
    return otherwise if value is UNSET else value


def _merged(row: ScheduleRow, changes: ChangeSchedule) -> tuple[Inputs, Credentials]:
    request = _requests.decode(row.request)
    return _given(changes.inputs, request.inputs), _given(changes.credentials, request.credentials)


def _request(inputs: Inputs, credentials: Credentials) -> bytes:
    request = _encode(Request(inputs=inputs, credentials=credentials))
    if len(request) > MAX_REQUEST_BYTES:
        message = f"Inputs and credentials of a schedule may have at most {MAX_REQUEST_BYTES:,} bytes"
        raise ScheduleInvalid.at(message, "body", "inputs")
    return request


async def _version(user: User, graph_id: str, version: int | None, inputs: Inputs, credentials: Credentials) -> int:
    body = ExecuteBody(inputs=inputs, credentials_inputs=credentials)
    return await runs.check(user.id, graph_id, version, body)


async def _zone(user: User, wanted: str | None, place: str) -> str:
    """The zone that was asked for, else the user's own."""
    if not wanted:
        return await accounts.usual_timezone(user)
    if not accounts.is_timezone(wanted):
        raise TimezoneUnknown.at(place, "timezone")
    return wanted


def _cron(expression: str, zone: str) -> Cron:
    try:
        return rules.cron_of(expression, zone)
    except CronInvalid as error:
        raise CronRefused(str(error)) from None


def _following(expression: str, zone: str, last: datetime | None) -> datetime:
    """When it fires next. Never again at a time for which it has fired: another machine's clock may be ahead."""
    moment = now()
    cron = _cron(expression, zone)
    shortest, least = cron.shortest_interval(moment), get_settings().schedule_min_interval_seconds
    if shortest is not None and shortest.total_seconds() < least:
        raise CronRefused(
            f"It fires every {shortest.total_seconds():g} seconds at times, and no schedule may so within {least}"
        )
    following = cron.next_after(moment if last is None else max(moment, last))
    if following is None:
        raise CronRefused("It never fires")
    return following
