"""How well runs did what they were for, as a language model judges it, and how that changes from day to day."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

import openai

from agentplat.blocks import service as blocks
from agentplat.infra.clock import now
from agentplat.infra.ids import is_id
from agentplat.infra.telemetry import get_logger
from agentplat.integrations import service as integrations
from agentplat.scoring import queries, rules
from agentplat.scoring.errors import JudgementMissing, ScoringNotConfigured, WishInvalid
from agentplat.scoring.models import (
    RECOMMENDED_MODEL,
    AccuracyAlertData,
    AccuracyLatestData,
    AccuracyTrendsResponse,
    ExecutionAnalyticsConfig,
    ExecutionAnalyticsRequest,
    ExecutionAnalyticsResponse,
    ExecutionAnalyticsResult,
    Judgement,
    ModelInfo,
    ScoredRun,
)
from agentplat.sdk import BlockError, Credentials

# Of one request, which nobody wants to wait for without end: runs, and seconds after which no batch is begun any more.
MOST = 100
REQUEST_SECONDS = 120.0
MODEL_SECONDS = 60.0
MAX_TOKENS = 1000

_log = get_logger(__name__)


def config() -> ExecutionAnalyticsConfig:
    models = [ModelInfo(value=name, label=rules.label(name), provider=of) for name, of in blocks.models().items()]
    return ExecutionAnalyticsConfig(
        available_models=sorted(models, key=lambda model: (model.provider, model.label)),
        default_system_prompt=rules.DEFAULT_SYSTEM_PROMPT,
        default_user_prompt=rules.DEFAULT_USER_PROMPT,
        recommended_model=RECOMMENDED_MODEL,
    )


async def judge(asked: ExecutionAnalyticsRequest) -> ExecutionAnalyticsResponse:
    """Judge final runs of a graph, newest first, a batch at a time. Each batch is stored before the next is begun."""
    credentials = _credentials(asked.model_name)
    if not is_id(asked.graph_id) or (asked.before is not None and not is_id(asked.before)):
        return _summary(0, 0, [], None)
    survey = await queries.survey(asked, _in_utc(asked.created_after) if asked.created_after else None, MOST)
    skipped = await queries.runs(survey.known, documents=False) if survey.known else []
    results = [_result(run, "skipped", _known(run)) for run in skipped]
    until = monotonic() + REQUEST_SECONDS
    done = 0
    while done < len(survey.wanted) and (monotonic() < until or not done):
        batch = await queries.runs(survey.wanted[done : done + asked.batch_size], documents=True)
        results += await _judge_all(batch, asked, credentials)
        done += asked.batch_size
    more = done < len(survey.wanted) or len(survey.wanted) == MOST
    return _summary(
        survey.total,
        survey.scored if asked.skip_existing else 0,
        results,
        survey.wanted[min(done, MOST) - 1] if survey.wanted and more else None,
    )


def _credentials(model: str) -> Credentials:
    provider = blocks.models().get(model)
    if provider is None:
        raise WishInvalid.at("model_name", f"there is no model '{model[:100]}' that this server can ask")
    found = integrations.acquire_system(provider)
    if found is None:
        raise ScoringNotConfigured(provider)
    return found


async def _judge_all(
    batch: Sequence[ScoredRun], asked: ExecutionAnalyticsRequest, credentials: Credentials
) -> list[ExecutionAnalyticsResult]:
    answers = await asyncio.gather(*(_judge(run, asked, credentials) for run in batch))
    judged = [
        (run, answer.correctness_score, rules.with_judgement(run.stats, answer))
        for run, answer in zip(batch, answers, strict=True)
        if isinstance(answer, Judgement) and run.stats is not None
    ]
    kept = await queries.write(judged) if judged else set()
    return [
        _result(run, "failed", None, answer)
        if isinstance(answer, str)
        else _result(run, "success", answer)
        if run.id in kept
        else _result(run, "failed", None, "Somebody else has judged this run meanwhile")
        for run, answer in zip(batch, answers, strict=True)
    ]


async def _judge(run: ScoredRun, asked: ExecutionAnalyticsRequest, credentials: Credentials) -> Judgement | str:
    """What the model says of one run, or why it says nothing. Only the kind of a provider's failure is told: its text
    may hold anything, such as a key."""
    messages = rules.messages(run, _block_name, asked.system_prompt, asked.user_prompt)
    try:
        async with asyncio.timeout(MODEL_SECONDS):
            text = await blocks.ask_model(run.user_id, run.id, asked.model_name, messages, credentials, MAX_TOKENS)
        return rules.judgement_of(text)
    except JudgementMissing:
        return "The model did not answer with a summary and a score"
    except (TimeoutError, openai.APITimeoutError):
        return f"The model gave no answer within {MODEL_SECONDS:.0f} seconds"
    except (BlockError, openai.OpenAIError) as error:
        kind = type(error.__cause__ or error).__name__
        _log.warning("run_not_judged", run_id=run.id, model=asked.model_name, reason=kind)
        return "The model's provider refused or failed"


def _block_name(block_id: str) -> str:
    block = blocks.get(block_id)
    return block.spec.name if block else "Unknown step"


def _known(run: ScoredRun) -> Judgement | None:
    seen = rules.figures(run)
    if seen.correctness_score is None:
        return None
    return Judgement(activity_status=seen.activity_status or "", correctness_score=seen.correctness_score)


def _result(
    run: ScoredRun, status: str, judgement: Judgement | None, problem: str | None = None
) -> ExecutionAnalyticsResult:
    return ExecutionAnalyticsResult(
        agent_id=run.graph_id,
        version_id=run.graph_version,
        user_id=run.user_id,
        exec_id=run.id,
        summary_text=judgement.activity_status if judgement else None,
        score=judgement.correctness_score if judgement else None,
        status=status,
        error_message=problem,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def _summary(
    total: int, skipped: int, results: list[ExecutionAnalyticsResult], next_before: str | None
) -> ExecutionAnalyticsResponse:
    counts = {status: sum(result.status == status for result in results) for status in ("success", "failed")}
    return ExecutionAnalyticsResponse(
        total_executions=total,
        processed_executions=sum(counts.values()),
        successful_analytics=counts["success"],
        failed_analytics=counts["failed"],
        skipped_executions=skipped,
        results=results,
        next_before=next_before,
    )


async def trends(
    graph_id: str, user_id: str | None, days_back: int, drop_threshold: float, historical: bool
) -> AccuracyTrendsResponse:
    """How the scores of a graph's runs move, and whether they have dropped."""
    moment = now()
    since = moment - timedelta(days=days_back)
    days = await queries.trends(graph_id, user_id, since, historical) if is_id(graph_id) else []
    latest, drop = days[0] if days else (_no_data(moment), None)
    alert = None
    if drop is not None and drop >= drop_threshold:
        assert latest.three_day_avg is not None
        assert latest.seven_day_avg is not None
        alert = AccuracyAlertData(
            graph_id=graph_id,
            user_id=user_id,
            drop_percent=drop,
            three_day_avg=latest.three_day_avg,
            seven_day_avg=latest.seven_day_avg,
            detected_at=moment,
        )
    return AccuracyTrendsResponse(
        latest_data=latest, alert=alert, historical_data=[day for day, _ in days] if historical else None
    )


def _no_data(moment: datetime) -> AccuracyLatestData:
    return AccuracyLatestData(
        date=moment, daily_score=None, three_day_avg=None, seven_day_avg=None, fourteen_day_avg=None
    )


def _in_utc(given: datetime) -> datetime:
    """A time without a zone is taken for UTC."""
    if given.tzinfo is None:
        return given.replace(tzinfo=UTC)
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise WishInvalid.at("created_after", "this time is out of range") from None
