"""Time-outs and retries of nodes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.engine.messages import NodeRetried, decode
from agentplat.graphs.models import GraphModel
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.errors import AppError
from agentplat.infra.settings import Settings
from agentplat.runs import queries
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunMeta
from tests.support.drawing import FLAKY, SLOW, STORE, Drawing, draw
from tests.support.hosting import final, outcomes
from tests.support.world import save, start


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


def with_metadata(drawing: Drawing, name: str, **metadata: Any) -> Drawing:
    nodes = [msgspec.structs.replace(node, metadata=metadata) if node.id == name else node for node in drawing.nodes]
    return Drawing(nodes, drawing.links)


async def ended(driver: Driver, drawing: Drawing) -> tuple[RunMeta, GraphModel, dict[str, Any]]:
    graph = await save(drawing)
    run = await start(graph)
    await driver.accept(run.id)
    return run, graph, await final(run)


async def retries_of(run: RunMeta) -> list[str]:
    segments = await queries.read_journal(run.id, now().date())
    messages = [message for segment in segments for message in decode(segment.body)]
    return [message.error for message in messages if isinstance(message, NodeRetried)]


def flaky(path: Path, failures: int) -> Drawing:
    return draw(
        {"f": (FLAKY, {"path": str(path), "failures": failures}), "s": (STORE, {}), "e": (STORE, {})},
        "f.n -> s.input",
        "f.error -> e.input",
    )


async def test_a_node_is_tried_once_unless_it_asks_for_more(driver: Driver, tmp_path: Path) -> None:
    run, graph, seen = await ended(driver, flaky(tmp_path / "log", 1))
    assert outcomes(seen, graph)["f"][0][0] == "FAILED"
    assert await retries_of(run) == []


async def test_retries_are_on_record_and_carry_the_same_key(driver: Driver, tmp_path: Path) -> None:
    """Also: what an earlier attempt has emitted is not emitted again."""
    drawing = with_metadata(flaky(tmp_path / "log", 2), "f", retry={"attempts": 3, "delay": 0.01})
    run, graph, seen = await ended(driver, drawing)
    done = outcomes(seen, graph)
    assert done["f"] == [("COMPLETED", {"n": [1, 2]})]
    assert [output["output"] for _, output in done["s"]] == [[1], [2]]
    assert "e" not in done
    first, second = await retries_of(run)
    assert "attempt 1 failed" in first
    assert "attempt 2 failed" in second
    (key,) = set((tmp_path / "log").read_text().splitlines())
    assert key in [one["node_exec_id"] for one in seen["node_executions"]]


async def test_the_last_failure_counts(driver: Driver, tmp_path: Path) -> None:
    drawing = with_metadata(flaky(tmp_path / "log", 9), "f", retry={"attempts": 2, "delay": 0.01})
    _, graph, seen = await ended(driver, drawing)
    ((status, output),) = outcomes(seen, graph)["f"]
    assert status == "FAILED"
    assert "attempt 2 failed" in output["error"][0]
    assert seen["stats"]["node_error_count"] == 1


async def test_a_node_that_takes_too_long_fails(driver: Driver) -> None:
    drawing = draw({"s": (SLOW, {"v": 1, "delay": 60}), "e": (STORE, {})}, "s.error -> e.input")
    _, graph, seen = await ended(driver, with_metadata(drawing, "s", timeout=0.1))
    text = f"raised by SlowBlock with message: timed out after 0.1 seconds. block_id: {SLOW}"
    assert outcomes(seen, graph) == {
        "s": [("FAILED", {"error": [text]})],
        "e": [("COMPLETED", {"output": [text]})],
    }


async def test_a_policy_that_makes_no_sense_is_refused(db: Database) -> None:
    with pytest.raises(AppError, match=r"metadata\.retry\.attempts has to be a whole number"):
        await save(with_metadata(draw({"a": (STORE, {"input": 1})}), "a", retry={"attempts": "many"}))
