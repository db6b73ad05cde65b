"""Runs judged by a model, the fake one, on the real database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.blocks import service as blocks
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries as run_queries
from agentplat.runs.driver import Driver
from agentplat.scoring import service
from agentplat.scoring.models import ExecutionAnalyticsRequest
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.fake_llm import running
from tests.support.statements import said
from tests.support.switches import environment_of

ADMIN = "/api/executions/admin"
GOOD = '[[reply: Here: {"activity_status": "It said hello.", "correctness_score": 0.75}]]'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as (url, _):
        yield url


@asynccontextmanager
async def model_at(url: str) -> AsyncIterator[None]:
    await blocks.close()  # what blocks share was made for other addresses
    with environment_of(OPENAI_BASE_URL=url):
        try:
            yield
        finally:
            await blocks.close()


@pytest.fixture
async def root(api: Api, redis: Redis) -> httpx.AsyncClient:
    await run_queries.ensure_partition(now().date())  # as workers do
    return api("root", role="admin")


async def stopped_runs(api: Api, count: int) -> tuple[str, list[str]]:
    """A graph of Ann's, and runs of it that are over; the newest first."""
    ann = api("ann")
    graph = await created(ann)
    ids = []
    for _ in range(count):
        run = (await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={})).json()
        ids.insert(0, run["id"])
    answer = await ann.post("/api/executions/bulk/stop", json={"ids": ids})
    assert [one["run"]["status"] for one in answer.json()["results"]] == ["TERMINATED"] * count
    return graph["id"], ids


async def judged(root: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await root.post(f"{ADMIN}/execution_analytics", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    """All, those that were worked on, and what came of them."""
    names = ("total_executions", "processed_executions", "successful_analytics", "failed_analytics")
    return tuple(found[name] for name in (*names, "skipped_executions"))


async def test_a_finished_run_has_a_score_afterwards(
    root: httpx.AsyncClient, api: Api, url: str, settings: Settings
) -> None:
    ann = api("ann")
    graph = await created(ann)
    path = f"/api/graphs/{graph['id']}"
    async with Driver(settings):
        run = (await ann.post(f"{path}/execute/1", json={}, headers={"Prefer": "wait=30"})).json()
    before = (await ann.get(f"{path}/executions/{run['id']}")).json()
    assert (before["status"], before["stats"]["correctness_score"]) == ("COMPLETED", None)
    async with model_at(url):
        found = await judged(root, graph_id=graph["id"], user_prompt=GOOD)
    assert counts(found) == (1, 1, 1, 0, 0)
    one = found["results"][0]
    assert (one["exec_id"], one["status"], one["error_message"]) == (run["id"], "success", None)
    assert (one["summary_text"], one["score"]) == ("It said hello.", 0.75)
    after = (await ann.get(f"{path}/executions/{run['id']}")).json()
    scored = {"activity_status": "It said hello.", "correctness_score": 0.75}
    assert after == before | {"stats": before["stats"] | scored}
    assert (await ann.get(f"{path}/executions")).json()["executions"][0]["stats"]["correctness_score"] == 0.75


async def test_what_has_a_score_is_skipped_unless_it_is_wanted_anew(
    root: httpx.AsyncClient, api: Api, url: str
) -> None:
    graph_id, ids = await stopped_runs(api, 3)
    async with model_at(url):
        assert counts(await judged(root, graph_id=graph_id, user_prompt=GOOD, batch_size=2)) == (3, 3, 3, 0, 0)
        again = await judged(root, graph_id=graph_id, user_prompt=GOOD)
        assert counts(again) == (3, 0, 0, 0, 3)
        assert [(one["exec_id"], one["status"], one["score"]) for one in again["results"]] == [
            (run_id, "skipped", 0.75) for run_id in ids
        ]
        better = GOOD.replace("0.75", "1")
        assert counts(await judged(root, graph_id=graph_id, user_prompt=better, skip_existing=False)) == (3, 3, 3, 0, 0)
        older = await judged(root, graph_id=graph_id, user_prompt=GOOD, skip_existing=False, before=ids[1])
        assert [one["exec_id"] for one in older["results"]] == [ids[2]]
    for nothing in ({"user_id": "bob"}, {"graph_version": 2}, {"created_after": "2999-01-01T00:00:00Z"}):
        async with model_at(url):
            assert counts(await judged(root, graph_id=graph_id, **nothing)) == (0, 0, 0, 0, 0)


async def test_statements_do_not_grow_with_runs(root: httpx.AsyncClient, api: Api, url: str) -> None:
    graph_id, _ = await stopped_runs(api, 6)
    async with model_at(url):
        with said() as statements:
            found = await judged(root, graph_id=graph_id, user_prompt=GOOD)
    assert counts(found) == (6, 6, 6, 0, 0)
    # A look at all of them, what there is to tell of a batch, and its scores. What else is said here, others say.
    assert len([one for one in statements if "stats" in one]) == 3, statements


async def test_what_a_model_fails_at_is_told_for_each_run(
    root: httpx.AsyncClient, api: Api, db: Database, url: str
) -> None:
    graph_id, _ = await stopped_runs(api, 2)
    for prompt in ("[[reply: Fine!]]", GOOD.replace("0.75", "75"), GOOD.replace("It said hello.", "")):
        async with model_at(url):
            found = await judged(root, graph_id=graph_id, user_prompt=prompt)
        assert counts(found) == (2, 2, 0, 2, 0)
        assert {one["error_message"] for one in found["results"]} == {
            "The model did not answer with a summary and a score"
        }
    async with model_at(f"{url}/nowhere"):
        found = await judged(root, graph_id=graph_id)
    assert {one["error_message"] for one in found["results"]} == {"The model's provider refused or failed"}
    assert await db.fetchval("SELECT count(*) FROM runs WHERE correctness_score IS NOT NULL") == 0


async def test_of_two_who_judge_at_once_one_counts(api: Api, root: httpx.AsyncClient, db: Database, url: str) -> None:
    graph_id, (run_id,) = await stopped_runs(api, 1)
    async with model_at(url):
        prompts = [GOOD.replace("0.75", score) for score in ("0.25", "0.5")]
        answers = await asyncio.gather(
            *(judged(root, graph_id=graph_id, user_prompt=prompt, skip_existing=False) for prompt in prompts)
        )
    row = await db.fetchrow("SELECT correctness_score, stats FROM runs WHERE id = $1", run_id)
    assert row["correctness_score"] in [one["results"][0]["score"] for one in answers if one["successful_analytics"]]
    assert msgspec.json.decode(row["stats"])["correctness_score"] == row["correctness_score"]


async def test_a_request_judges_so_many_and_says_where_to_go_on(
    root: httpx.AsyncClient, api: Api, db: Database, url: str
) -> None:
    graph_id, ids = await stopped_runs(api, 1)
    columns = (await run_columns(db)) - {"id", "created_at"}
    names = ", ".join(sorted(columns))
    await db.execute(
        f"INSERT INTO runs (id, created_at, {names}) SELECT gen_random_uuid()::text, created_at - n * interval '1 s',"
        f" {names} FROM runs, generate_series(1, {service.MOST}) n"
    )
    async with model_at(url):
        first = await judged(root, graph_id=graph_id, user_prompt=GOOD, batch_size=25)
        assert counts(first) == (service.MOST + 1, service.MOST, service.MOST, 0, 0)
        assert first["results"][0]["exec_id"] == ids[0]
        assert first["next_before"] == first["results"][-1]["exec_id"]
        rest = await judged(root, graph_id=graph_id, user_prompt=GOOD, before=first["next_before"])
    assert (rest["processed_executions"], rest["next_before"]) == (1, None)


async def run_columns(db: Database) -> set[str]:
    rows = await db.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'runs'")
    return {row["column_name"] for row in rows}


async def test_without_a_key_nothing_is_judged(root: httpx.AsyncClient, api: Api) -> None:
    answer = await root.post(f"{ADMIN}/execution_analytics", json={"graph_id": NOBODYS_ID})
    assert (answer.status_code, answer.json()["code"]) == (409, "scoring_not_configured")


async def test_only_administrators(api: Api, db: Database) -> None:
    ann = api("ann")
    for method, path in (
        ("POST", "execution_analytics"),
        ("GET", "execution_analytics/config"),
        ("GET", "execution_accuracy_trends"),
    ):
        query, body = {"graph_id": NOBODYS_ID}, {"graph_id": NOBODYS_ID} if method == "POST" else None
        answer = await ann.request(method, f"{ADMIN}/{path}", params=query, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        answer = await ann.request(method, f"{ADMIN}/{path}", params={"days_back": "x"}, content=b"{")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_bad_wishes_are_refused_by_name(root: httpx.AsyncClient, url: str) -> None:
    async with model_at(url):
        for field, value in (
            ("model_name", "hal-9000"),
            ("model_name", "claude-3-haiku-20240307"),  # known to blocks, but nobody can ask it yet
            ("batch_size", 26),
            ("graph_version", 0),
            ("created_after", "0001-01-01T00:00:00+14:00"),
        ):
            asked = {"graph_id": NOBODYS_ID, field: value}
            answer = await root.post(f"{ADMIN}/execution_analytics", json=asked)
            assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field]), answer.text
        for asked in ({"graph_id": "\x00"}, {"graph_id": NOBODYS_ID, "before": "no-id"}):
            assert counts(await judged(root, **asked)) == (0, 0, 0, 0, 0)
    for name, value in (("days_back", 6), ("days_back", 91), ("drop_threshold", 0.5), ("drop_threshold", 51)):
        answer = await root.get(f"{ADMIN}/execution_accuracy_trends", params={"graph_id": NOBODYS_ID, name: value})
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", name])


async def test_the_models_there_are(root: httpx.AsyncClient) -> None:
    config = (await root.get(f"{ADMIN}/execution_analytics/config")).json()
    models = config["available_models"]
    assert {"value": "gpt-4o-mini", "label": "GPT 4o Mini", "provider": "openai"} in models
    assert models == sorted(models, key=lambda model: (model["provider"], model["label"]))
    assert config["recommended_model"] in [model["value"] for model in models]
    assert "{{EXECUTION_DATA}}" in config["default_user_prompt"]
    defaults = ExecutionAnalyticsRequest(graph_id=NOBODYS_ID)
    assert (defaults.model_name, defaults.batch_size, defaults.skip_existing) == ("gpt-4o-mini", 10, True)


async def test_trends(root: httpx.AsyncClient, api: Api, db: Database) -> None:
    graph_id, ids = await stopped_runs(api, 9)
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    # Two runs on the newest day, and gaps: means go over days that have runs. The last one has no score.
    for run_id, days, score in zip(
        ids, (1, 1, 2, 4, 5, 6, 8, 9, 3), (0.2, 0.4, 0.3, 0.3, *[0.9] * 4, None), strict=True
    ):
        await db.execute(
            "UPDATE runs SET created_at = $2, correctness_score = $3 WHERE id = $1",
            run_id,
            midnight - timedelta(days=days, hours=-12),
            score,
        )

    async def asked(**more: Any) -> dict[str, Any]:
        answer = await root.get(f"{ADMIN}/execution_accuracy_trends", params={"graph_id": graph_id, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    found = await asked(include_historical=True)
    latest = found["latest_data"]
    assert latest["date"].startswith((midnight - timedelta(days=1)).date().isoformat())
    week = (3 * 30 + 4 * 90) / 7
    assert [latest[name] for name in ("daily_score", "three_day_avg", "seven_day_avg", "fourteen_day_avg")] == (
        pytest.approx([30, 30, week, week])
    )
    assert found["historical_data"][0] == latest
    assert [day["daily_score"] for day in found["historical_data"]] == pytest.approx([30, 30, 30, 90, 90, 90, 90])
    assert found["alert"]["drop_percent"] == pytest.approx((week - 30) / week * 100)
    assert (found["alert"]["graph_id"], found["alert"]["user_id"]) == (graph_id, None)
    brief = await asked(drop_threshold=50, user_id="ann")
    assert brief["latest_data"] == latest
    assert (brief["alert"] is None, brief["historical_data"]) == (found["alert"]["drop_percent"] < 50, None)
    for nothing in ({"user_id": "bob"}, {"graph_id": NOBODYS_ID}, {"graph_id": "no-id"}):
        none = await asked(**nothing)
        assert (none["latest_data"]["daily_score"], none["latest_data"]["seven_day_avg"], none["alert"]) == (None,) * 3
