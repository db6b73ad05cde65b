"""Schedules, as the AutoGPT Platform contract has them; and, with paths of their own, what it leaves out."""

from datetime import datetime
from typing import Annotated

from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from agentplat.accounts.models import User
from agentplat.infra.refusals import refusal
from agentplat.runs.models import RunMeta
from agentplat.schedules import service
from agentplat.schedules.models import ChangeSchedule, CreateSchedule, Firings, Preview, Schedule

CurrentUser = NamedDependency[User]
GraphId = FromPath[str]
ScheduleId = FromPath[str]
Count = Annotated[int, QueryParameter(ge=1, le=100)]
FULL = refusal("There are too many schedules.")
UNPAID = refusal("The balance does not cover a run.")
ODD_CRON = refusal("The cron expression can't be used.")
NOT_RUNNABLE = refusal("The cron expression can't be used, or a run could not be started like this.")


@post("/graphs/{graph_id:str}/schedules", status_code=200, responses={400: NOT_RUNNABLE, 409: FULL})
async def create_schedule(graph_id: GraphId, data: JSONBody[CreateSchedule], user: CurrentUser) -> Schedule:
    """Have a graph run at the times of a cron expression: five fields, weekdays from 0 (Sunday) to 6, or 7 (Sunday)."""
    return await service.create(user, graph_id, data)


@get("/graphs/{graph_id:str}/schedules")
async def list_graph_schedules(graph_id: GraphId, user: CurrentUser) -> list[Schedule]:
    """Your schedules of one graph, newest first."""
    return await service.list_of_graph(user, graph_id)


@get("/schedules")
async def list_schedules(user: CurrentUser) -> list[Schedule]:
    """Your schedules, newest first."""
    return await service.list_(user)


@get("/schedules/preview", responses={400: ODD_CRON})
async def preview_cron(
    user: CurrentUser, cron: FromQuery[str], timezone: FromQuery[str | None] = None, count: Count = 10
) -> Preview:
    """When a schedule with this expression would fire next; in your zone where none is given."""
    return await service.preview(user, cron, timezone, count)


@get("/schedules/{schedule_id:str}")
async def get_schedule(schedule_id: ScheduleId, user: CurrentUser) -> Schedule:
    """One schedule."""
    return await service.get(user, schedule_id)


@patch("/schedules/{schedule_id:str}", responses={400: NOT_RUNNABLE})
async def change_schedule(schedule_id: ScheduleId, data: JSONBody[ChangeSchedule], user: CurrentUser) -> Schedule:
    """Change a schedule; members that are left out stay."""
    return await service.change(user, schedule_id, data)


@delete("/schedules/{schedule_id:str}", status_code=200)
async def delete_schedule(schedule_id: ScheduleId, user: CurrentUser) -> dict[str, str]:
    """Delete a schedule with its history. Its runs stay."""
    return await service.delete(user, schedule_id)


@post("/schedules/{schedule_id:str}/pause", status_code=200)
async def pause_schedule(schedule_id: ScheduleId, user: CurrentUser) -> Schedule:
    """Have a schedule fire no more until it is resumed."""
    return await service.pause(user, schedule_id)


@post("/schedules/{schedule_id:str}/resume", status_code=200, responses={400: ODD_CRON})
async def resume_schedule(schedule_id: ScheduleId, user: CurrentUser) -> Schedule:
    """Have a paused schedule fire again, from its next time on."""
    return await service.resume(user, schedule_id)


@post("/schedules/{schedule_id:str}/run", status_code=200, responses={400: NOT_RUNNABLE, 402: UNPAID})
async def run_schedule(schedule_id: ScheduleId, user: CurrentUser) -> RunMeta:
    """Start at once what the schedule starts. Its times stay as they are."""
    return await service.run_now(user, schedule_id)


@get("/schedules/{schedule_id:str}/preview", responses={400: ODD_CRON})
async def preview_schedule(schedule_id: ScheduleId, user: CurrentUser, count: Count = 10) -> Preview:
    """When a schedule would fire next, whether or not it is paused."""
    return await service.preview_of(user, schedule_id, count)


@get("/schedules/{schedule_id:str}/firings")
async def list_firings(
    schedule_id: ScheduleId, user: CurrentUser, before: FromQuery[datetime | None] = None, limit: Count = 25
) -> Firings:
    """What became of the times of a schedule, the newest first: a run, or the reason why there is none."""
    return await service.firings(user, schedule_id, before, limit)


router = Router(
    "/api",
    route_handlers=[
        create_schedule,
        list_graph_schedules,
        list_schedules,
        preview_cron,
        get_schedule,
        change_schedule,
        delete_schedule,
        pause_schedule,
        resume_schedule,
        run_schedule,
        preview_schedule,
        list_firings,
    ],
    tags=["schedules"],
)
