"""What clients report about their use, over the API."""

from typing import Any

import pytest

from agentplat.infra.db import Database
from tests.support.api import Api

METRIC = {"metric_name": "seen", "metric_value": 1.5, "data_string": "page"}
DETAIL: dict[str, Any] = {"type": "click", "data": {"at": [1, "\0"]}, "data_index": "button"}


async def test_a_metric_is_kept_for_its_user(api: Api, db: Database) -> None:
    answer = await api("ann").post("/api/analytics/log_raw_metric", json=METRIC)
    assert answer.status_code == 200
    row = await db.fetchrow("SELECT * FROM analytics_metrics WHERE id = $1", answer.json())
    assert row is not None
    assert (row["user_id"], row["analytic_metric"], row["value"], row["data_string"]) == ("ann", "seen", 1.5, "page")


async def test_details_are_kept_as_they_came(api: Api, db: Database) -> None:
    answer = await api("ann").post("/api/analytics/log_raw_analytics", json=DETAIL)
    assert answer.status_code == 200
    row = await db.fetchrow("SELECT * FROM analytics_details WHERE id = $1", answer.json())
    assert row is not None
    assert (row["user_id"], row["type"], row["data_index"]) == ("ann", "click", "button")
    assert row["data"] == r'{"at":[1,"\u0000"]}'


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("log_raw_metric", METRIC | {"metric_value": -1}, "metric_value"),
        ("log_raw_metric", METRIC | {"metric_name": ""}, "metric_name"),
        ("log_raw_metric", METRIC | {"data_string": "a\0b"}, "data_string"),
        ("log_raw_metric", METRIC | {"metric_name": "x" * 10_001}, "metric_name"),
        ("log_raw_analytics", DETAIL | {"data": []}, "data"),
        ("log_raw_analytics", DETAIL | {"type": "\0"}, "type"),
    ],
)
async def test_what_does_not_fit_is_named(api: Api, db: Database, path: str, body: Any, field: str) -> None:
    answer = await api("ann").post(f"/api/analytics/{path}", json=body)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert await db.fetchval("SELECT count(*) FROM analytics_metrics") == 0
