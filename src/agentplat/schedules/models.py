"""Schedules as the wire shows them, and as they are stored."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from agentplat.graphs.models import MAX_VERSION
from agentplat.runs.models import CredentialsMetaInput

MAX_NAME_LENGTH = 500


class MissedRuns(StrEnum):
    """Which firings are made up for that were missed while no scheduler ran: none, the last, or all of a while."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class Outcome(StrEnum):
    """`STARTED`: there is a run. `FAILED`: it was refused. `SKIPPED`: it was missed and not made up for."""

    STARTED = "STARTED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


# `$` alone would let a line break pass that is the last character.
Name = Annotated[str, Meta(max_length=MAX_NAME_LENGTH, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Version = Annotated[int, Meta(ge=1, le=MAX_VERSION)]
Inputs = dict[str, Any]
Credentials = dict[str, CredentialsMetaInput]


class CreateSchedule(Struct, frozen=True, kw_only=True):
    """The contract's ScheduleCreationRequest. `missed_runs` is not in it; null means what the platform is set to."""

    name: Name
    cron: str
    inputs: Inputs
    credentials: Credentials = {}
    graph_version: Version | None = None
    timezone: str | None = None
    missed_runs: MissedRuns | None = None


class ChangeSchedule(Struct, frozen=True, kw_only=True):
    """Members that are left out stay."""

    name: Name | UnsetType = UNSET
    cron: str | UnsetType = UNSET
    inputs: Inputs | UnsetType = UNSET
    credentials: Credentials | UnsetType = UNSET
    graph_version: Version | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    missed_runs: MissedRuns | UnsetType = UNSET


class Request(Struct, frozen=True, kw_only=True):
    """What each run is started with. Stored as one JSON document."""

    inputs: Inputs = {}
    credentials: Credentials = {}


class Schedule(Struct, frozen=True, kw_only=True):
    """The contract's GraphExecutionJobInfo, whose `id` and `schedule_id` are the same, and what clients asked for.

    Times are in the schedule's zone. `next_run_time` of a schedule that is paused is the one that it would have if it
    were resumed now. Not in the contract: everything from `missed_runs` on. `last_*` is about the latest firing.
    """

    id: str
    schedule_id: str
    name: str
    user_id: str
    graph_id: str
    graph_version: int
    agent_name: str | None
    cron: str
    input_data: Inputs
    input_credentials: Credentials
    next_run_time: datetime
    timezone: str
    missed_runs: MissedRuns
    paused: bool
    pause_reason: str | None
    created_at: datetime
    updated_at: datetime
    last_run_time: datetime | None
    last_run_id: str | None
    last_outcome: Outcome | None


class Firing(Struct, frozen=True, kw_only=True):
    """One time for which a schedule was due. `error` says why there is no run; `code` is the same for programs."""

    scheduled_at: datetime
    fired_at: datetime
    outcome: Outcome
    run_id: str | None
    code: str | None
    error: str | None


class Firings(Struct, frozen=True, kw_only=True):
    """The newest first. There are more where `next_before` is set: ask for those with `before` set to it."""

    firings: list[Firing]
    next_before: datetime | None


class Preview(Struct, frozen=True, kw_only=True):
    """The next firings in the zone."""

    cron: str
    timezone: str
    times: list[datetime]


class ScheduleRow(Struct, frozen=True, kw_only=True):
    """A schedule as stored. `next_run_at` is None while it is paused. `last_scheduled_at` never goes back."""

    id: str
    user_id: str
    graph_id: str
    graph_version: int
    name: str
    cron: str
    timezone: str
    missed_runs: MissedRuns
    request: bytes
    next_run_at: datetime | None
    last_scheduled_at: datetime | None
    last_run_id: str | None
    last_outcome: Outcome | None
    pause_reason: str | None
    created_at: datetime
    updated_at: datetime
    agent_name: str | None = None


class FiringRow(Firing, frozen=True, kw_only=True):
    """A firing with the schedule that it is of."""

    schedule_id: str
