"""Runs in this process, as tests look at them."""

from typing import Any

import msgspec

from agentplat.graphs.models import GraphModel
from agentplat.runs import queries, service
from agentplat.runs.models import RunMeta, RunWithNodes
from tests.support.conditions import PATIENCE_SECONDS, until
from tests.support.world import ANN, names

FINAL = ("COMPLETED", "FAILED", "TERMINATED")


def as_sent(run: RunWithNodes) -> dict[str, Any]:
    """As a client gets it."""
    sent: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(run))
    return sent


async def look(run: RunMeta) -> dict[str, Any]:
    return as_sent(await service.get(ANN.id, run.graph_id, run.id))


async def reaching(run: RunMeta, *statuses: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """The run once it has one of these statuses."""

    async def is_there() -> bool:
        row = await queries.find(run.id)
        assert row is not None
        return row.status in statuses

    await until(is_there, seconds)
    return await look(run)


async def final(run: RunMeta, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    return await reaching(run, *FINAL, seconds=seconds)


def outcomes(seen: dict[str, Any], graph: GraphModel) -> dict[str, list[tuple[str, Any]]]:
    """Per drawn node the status and output of its executions."""
    found: dict[str, list[tuple[str, Any]]] = {}
    drawn = names(graph)
    for one in seen["node_executions"]:
        found.setdefault(drawn[one["node_id"]], []).append((one["status"], one["output_data"]))
    return found
