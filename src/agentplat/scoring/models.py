"""What administrators ask about how well runs did, and what they get."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

RECOMMENDED_MODEL = "gpt-4o-mini"


class ModelInfo(Struct, frozen=True, kw_only=True):
    value: str
    label: str
    provider: str


class ExecutionAnalyticsConfig(Struct, frozen=True, kw_only=True):
    available_models: list[ModelInfo]
    default_system_prompt: str
    default_user_prompt: str
    recommended_model: str


class ExecutionAnalyticsRequest(Struct, frozen=True, kw_only=True):
    """Which runs to judge, and how. Not in the contract: `before`, the id of a run, to go on with older ones."""

    graph_id: str
    graph_version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    user_id: str | None = None
    created_after: datetime | None = None
    model_name: str = RECOMMENDED_MODEL
    batch_size: Annotated[int, Meta(ge=1, le=25)] = 10
    system_prompt: str | None = None
    user_prompt: str | None = None
    skip_existing: bool = True
    before: str | None = None


class ExecutionAnalyticsResult(Struct, frozen=True, kw_only=True):
    """`status` is success, failed or skipped."""

    agent_id: str
    version_id: int
    user_id: str
    exec_id: str
    summary_text: str | None
    score: float | None
    status: str
    error_message: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ExecutionAnalyticsResponse(Struct, frozen=True, kw_only=True):
    """`total_executions` are all that match. Not in the contract: `next_before`, to ask for the rest with, if any."""

    total_executions: int
    processed_executions: int
    successful_analytics: int
    failed_analytics: int
    skipped_executions: int
    results: list[ExecutionAnalyticsResult]
    next_before: str | None = None


class AccuracyLatestData(Struct, frozen=True, kw_only=True):
    """Percentages: the mean of a day, and the means over the last days that have runs with a score."""

    date: datetime
    daily_score: float | None
    three_day_avg: float | None
    seven_day_avg: float | None
    fourteen_day_avg: float | None


class AccuracyAlertData(Struct, frozen=True, kw_only=True):
    graph_id: str
    user_id: str | None
    drop_percent: float
    three_day_avg: float
    seven_day_avg: float
    detected_at: datetime


class AccuracyTrendsResponse(Struct, frozen=True, kw_only=True):
    latest_data: AccuracyLatestData
    alert: AccuracyAlertData | None
    historical_data: list[AccuracyLatestData] | None = None


class Judgement(Struct, frozen=True, kw_only=True):
    """What a model is asked for. The score is from 0, it failed, to 1, it did what it was for."""

    activity_status: Annotated[str, Meta(min_length=1)]
    correctness_score: Annotated[float, Meta(ge=0, le=1)]


class Survey(Struct, frozen=True, kw_only=True):
    """How many runs match, how many of them have a score; which to judge, and which to show with the score they have.
    The newest come first in both lists."""

    total: int
    scored: int
    wanted: list[str]
    known: list[str]


class ScoredRun(Struct, frozen=True, kw_only=True):
    """A final run, with documents as they are stored. Those that are too large to be shown to a model are None, as are
    those that weren't asked for."""

    id: str
    user_id: str
    graph_id: str
    graph_version: int
    status: str
    graph_name: str
    started_at: datetime | None
    ended_at: datetime | None
    stats: bytes | None
    request: bytes | None = None
    outputs: bytes | None = None
    node_executions: bytes | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """The part of a run's figures that is of interest here."""

    activity_status: str | None = None
    correctness_score: float | None = None
    error: str | None = None
    node_exec_count: int = 0
    node_error_count: int = 0


class SeenNode(Struct, frozen=True, kw_only=True):
    block_id: str
    status: str
    input_data: msgspec.Raw
    output_data: msgspec.Raw


class SeenRequest(Struct, frozen=True, kw_only=True):
    shown: msgspec.Raw
