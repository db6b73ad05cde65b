"""A18 through database and worker. Masks have no place in the API's body, so the run is accepted as a sub-run's is."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from agentplat.graphs import service as graphs
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.ids import new_id
from agentplat.infra.settings import Settings
from agentplat.runs import acceptance, insertion, view
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunRequest
from tests.acceptance.example import Example
from tests.acceptance.examples import EXAMPLES
from tests.support.hosting import final
from tests.support.world import ANN, names, save

MASKED = [example for example in EXAMPLES if example.masks]


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


@pytest.mark.parametrize("example", MASKED, ids=lambda example: example.name)
async def test_masks_overlay_constants_and_links(driver: Driver, example: Example) -> None:
    graph = await save(example.drawing)
    drawn = names(graph)
    masks = {node_id: example.masks[name] for node_id, name in drawn.items() if name in example.masks}
    stored = await graphs.load(graph.id, graph.version)
    created = now()
    row = await acceptance.draft(
        new_id(), ANN.id, stored, RunRequest(nodes_input_masks=masks), created, created + timedelta(hours=1)
    )
    await insertion.insert(row)
    await driver.accept(row.id)  # unless its sweep was quicker
    seen = await final(view.stored_meta(row))
    found: dict[str, list[object]] = {}
    for one in seen["node_executions"]:
        found.setdefault(drawn[one["node_id"]], []).append((one["status"], one["input_data"], one["output_data"]))
    assert found == example.nodes
    assert seen["stats"]["node_exec_count"] == example.count
