"""Routes of administrators under /api/executions/admin, as the AutoGPT Platform contract has them."""

from typing import Annotated, Any

from litestar import Request, Router, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from agentplat.accounts import service as accounts
from agentplat.infra.inbound import while_connected
from agentplat.infra.refusals import refusal
from agentplat.scoring import service
from agentplat.scoring.models import (
    AccuracyTrendsResponse,
    ExecutionAnalyticsConfig,
    ExecutionAnalyticsRequest,
    ExecutionAnalyticsResponse,
)

Days = Annotated[int, QueryParameter(ge=7, le=90)]
Percent = Annotated[float, QueryParameter(ge=1, le=50)]
ADMINS_ONLY = refusal("Only administrators may do this.")


@get("/execution_analytics/config", responses={403: ADMINS_ONLY}, sync_to_thread=False)
def get_analytics_config() -> ExecutionAnalyticsConfig:
    """The models that can judge runs, and what they are told if nothing else is said. For administrators."""
    return service.config()


@post(
    "/execution_analytics",
    status_code=200,
    responses={403: ADMINS_ONLY, 409: refusal("This server has no key of its own for the model's provider.")},
)
async def judge_executions(
    data: JSONBody[ExecutionAnalyticsRequest], request: Request[Any, Any, Any]
) -> ExecutionAnalyticsResponse:
    """Have a language model say what final runs of a graph did, and how well. A request judges up to 100 runs, newest
    first, for about two minutes; ask again for the rest, with `next_before` as `before`. For administrators."""
    return await while_connected(request, service.judge(data))


@get("/execution_accuracy_trends", responses={403: ADMINS_ONLY})
async def get_accuracy_trends(
    graph_id: FromQuery[str],
    user_id: FromQuery[str | None] = None,
    days_back: Days = 30,
    drop_threshold: Percent = 10.0,
    include_historical: FromQuery[bool] = False,
) -> AccuracyTrendsResponse:
    """How the scores of a graph's runs move from day to day; an alert where the mean of the last three days is so many
    percent below that of seven. For administrators."""
    return await service.trends(graph_id, user_id, days_back, drop_threshold, include_historical)


router = Router(
    "/api/executions/admin",
    route_handlers=[get_analytics_config, judge_executions, get_accuracy_trends],
    tags=["execution_analytics"],
    guards=[accounts.admins_only],
)
