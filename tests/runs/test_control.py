"""Who stops runs or answers reviews is answered, also while nobody can be told of it."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from agentplat.graphs.models import GraphModel
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries
from agentplat.runs.driver import Driver
from tests.support.api import Api
from tests.support.deaf import deaf_redis
from tests.support.drawing import OUTPUT, REVIEW, draw
from tests.support.hosting import reaching
from tests.support.world import ANN, save, start

ASKING = draw({"h": (REVIEW, {"name": "n", "data": 1}), "out": (OUTPUT, {"name": "o"})}, "h.approved_data -> out.value")
# What each message may take, and there are some of them; who is not answered at all takes for ever.
PATIENCE_SECONDS = 30


@pytest.fixture
async def graph(db: Database, redis: Redis) -> GraphModel:
    await queries.ensure_partition(now().date())  # as workers do
    return await save(ASKING)


async def test_runs_are_stopped(api: Api, graph: GraphModel, tmp_path: Path) -> None:
    one, *others = [await start(graph) for _ in range(3)]
    ann = api(ANN.id)
    async with deaf_redis(tmp_path), asyncio.timeout(PATIENCE_SECONDS):
        stopped = await ann.post(f"/api/graphs/{graph.id}/executions/{one.id}/stop")
        assert stopped.json()["status"] == "TERMINATED"
        many = await ann.post("/api/executions/bulk/stop", json={"ids": [run.id for run in others]})
        assert [result["run"]["status"] for result in many.json()["results"]] == ["TERMINATED"] * 2


async def test_a_graph_is_deleted_with_its_runs(api: Api, graph: GraphModel, tmp_path: Path) -> None:
    await start(graph)
    async with deaf_redis(tmp_path), asyncio.timeout(PATIENCE_SECONDS):
        assert (await api(ANN.id).delete(f"/api/graphs/{graph.id}")).json() == {"version_counts": 1}


async def test_reviews_are_decided(api: Api, graph: GraphModel, settings: Settings, tmp_path: Path) -> None:
    run = await start(graph)
    ann = api(ANN.id)
    async with Driver(settings) as driver:
        await driver.accept(run.id)
        await reaching(run, "REVIEW")
    (review,) = (await ann.get("/api/review/pending")).json()
    async with deaf_redis(tmp_path), asyncio.timeout(PATIENCE_SECONDS):
        decision = {"node_exec_id": review["node_exec_id"], "approved": True}
        decided = await ann.post("/api/review/action", json={"reviews": [decision]})
        assert decided.json()["approved_count"] == 1
    # Whoever looks for runs finds it all the same.
    async with Driver(settings) as driver:
        await driver.accept(run.id)
        assert (await reaching(run, "COMPLETED"))["outputs"] == {"o": [1]}
