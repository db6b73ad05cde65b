from msgspec import json

from agentplat.analytics.models import Detail, Metric
from agentplat.infra.db import db


async def insert_metric(metric_id: str, user_id: str, metric: Metric) -> None:
    await db().execute(
        "INSERT INTO analytics_metrics (id, user_id, analytic_metric, value, data_string) VALUES ($1, $2, $3, $4, $5)",
        metric_id,
        user_id,
        metric.metric_name,
        metric.metric_value,
        metric.data_string,
    )


async def insert_detail(detail_id: str, user_id: str, detail: Detail) -> None:
    await db().execute(
        "INSERT INTO analytics_details (id, user_id, type, data, data_index) VALUES ($1, $2, $3, $4, $5)",
        detail_id,
        user_id,
        detail.type,
        json.encode(detail.data).decode(),
        detail.data_index,
    )
