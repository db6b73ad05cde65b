"""Keeps what clients report about their use, for the operator to query. Nothing here reads it."""

from agentplat.analytics import queries
from agentplat.analytics.models import Detail, Metric
from agentplat.infra.ids import new_id


async def log_metric(user_id: str, metric: Metric) -> str:
    """Returns the id it is kept under."""
    metric_id = new_id()
    await queries.insert_metric(metric_id, user_id, metric)
    return metric_id


async def log_detail(user_id: str, detail: Detail) -> str:
    """Returns the id it is kept under."""
    detail_id = new_id()
    await queries.insert_detail(detail_id, user_id, detail)
    return detail_id
