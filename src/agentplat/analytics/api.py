"""Routes under /api/analytics, as the AutoGPT Platform contract has them."""

from uuid import UUID

from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from agentplat.accounts.models import User
from agentplat.analytics import service
from agentplat.analytics.models import Detail, Metric

CurrentUser = NamedDependency[User]


@post("/log_raw_metric", status_code=200)
async def log_raw_metric(data: JSONBody[Metric], user: CurrentUser) -> UUID:
    """Keep a number about your use. Answers with its id."""
    return UUID(await service.log_metric(user.id, data))


@post("/log_raw_analytics", status_code=200)
async def log_raw_analytics(data: JSONBody[Detail], user: CurrentUser) -> UUID:
    """Keep anything else about your use. Answers with its id."""
    return UUID(await service.log_detail(user.id, data))


router = Router("/api/analytics", route_handlers=[log_raw_metric, log_raw_analytics], tags=["analytics"])
