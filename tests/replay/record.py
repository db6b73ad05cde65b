"""`python -m tests.replay.record [NAME …]`: run the scenarios on the real platform and keep their journals.

Only for a new scenario, or after a decision that changes what a run is. All are written again unless named.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agentplat.embedded import EmbeddedServices
from agentplat.engine.state import FINAL
from agentplat.graphs import service as graphs
from agentplat.infra.db import close_database, db, open_database
from agentplat.infra.migrate import migrate
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings, get_settings
from agentplat.runs import queries, view
from agentplat.runs.driver import Driver
from tests.acceptance.examples import EXAMPLES
from tests.replay.history import History, seen_of, write
from tests.support.drawing import CALCULATOR, EFFECT, OUTPUT, SLOW, SPILL, STEP, STORE, Drawing, draw
from tests.support.services import JWT_KEY, clear_environment
from tests.support.world import names, save, start

MOST_EXECUTIONS = 60

Disturb = Callable[[Settings, str], Awaitable[None]]


class Scenario(Struct, frozen=True):
    """`disturb` drives the run as far as it likes; afterwards a worker drives it to its end."""

    name: str
    drawing: Drawing
    inputs: dict[str, Any] = {}
    masks: dict[str, dict[str, Any]] = {}
    skipped: tuple[str, ...] = ()
    disturb: Disturb | None = None


async def _rows(run_id: str, at_least: int) -> None:
    while await db().fetchval("SELECT count(*) FROM journal WHERE run_id = $1", run_id) < at_least:
        await asyncio.sleep(0.01)


async def _abandoned(settings: Settings, run_id: str) -> None:
    """Its worker is gone in the middle, so that the next one finds nodes that were started and have no outcome."""
    driver = Driver(settings)
    async with driver:
        assert await driver.accept(run_id)
        await _rows(run_id, 4)
    await db().execute("UPDATE runs SET lease_until = NULL WHERE status = 'RUNNING'")


async def _stopped(settings: Settings, run_id: str) -> None:
    async with Driver(settings) as driver:
        assert await driver.accept(run_id)
        await _rows(run_id, 1)
        await db().execute("UPDATE runs SET stop_requested_at = now() WHERE id = $1", run_id)
        await _final(run_id)


async def _final(run_id: str) -> None:
    async with asyncio.timeout(30):
        while await db().fetchval("SELECT status FROM runs WHERE id = $1", run_id) not in FINAL:
            await asyncio.sleep(0.01)


def scenarios() -> list[Scenario]:
    return [
        *(Scenario(one.name, one.drawing, one.inputs, one.masks) for one in EXAMPLES),
        Scenario(
            "stream",
            draw({"p": (SPILL, {"count": 12, "delay": 0.01}), "s": (STORE, {})}, "p.n -> s.input"),
        ),
        Scenario(
            "recovered stream",
            draw({"p": (SPILL, {"count": 30, "delay": 0.1}), "s": (STORE, {})}, "p.n -> s.input"),
            disturb=_abandoned,
        ),
        Scenario(
            "interrupted effect",
            draw(
                {
                    "st": (STEP, {"items": [1, 2]}),
                    "e": (EFFECT, {"path": "/dev/null", "delay": 2.5}),
                    "p": (SPILL, {"count": 4, "delay": 0.05}),
                    "s": (STORE, {}),
                    "err": (OUTPUT, {"name": "failure"}),
                },
                "st.item -> e.v",
                "e.out -> s.input",
                "e.error -> err.value",
            ),
            disturb=_abandoned,
        ),
        Scenario(
            "stopped",
            draw(
                {"st": (STEP, {"items": [1, 2, 3]}), "w": (SLOW, {"delay": 5}), "s": (STORE, {})},
                "st.item -> w.v",
                "w.out -> s.input",
            ),
            disturb=_stopped,
        ),
        Scenario(
            "over the limit",
            draw(
                {"a": (STORE, {"input": 0}), "c": (CALCULATOR, {"operation": "Add", "b": 1}), "s": (STORE, {})},
                "a.output -> c.a",
                "c.result -> s.input",
                "s.output -> c.a",
            ),
        ),
        Scenario(
            "skipped node",
            draw(
                {"a": (STORE, {"input": 1}), "b": (STORE, {}), "c": (STORE, {}), "d": (STORE, {})},
                "a.output -> b.input",
                "b.output -> c.input",
                "a.output -> d.input",
            ),
            skipped=("b",),
        ),
    ]


async def record(scenario: Scenario, settings: Settings) -> History:
    graph = await save(scenario.drawing)
    version = await graphs.load(graph.id, graph.version)
    drawn = names(graph)
    stored = {name: node_id for node_id, name in drawn.items()}
    run = await start(graph, **scenario.inputs)
    row = await queries.find(run.id)
    assert row is not None
    masks = {stored[name]: mask for name, mask in scenario.masks.items()}
    request = replace(
        view.decode_request(row.request), masks=masks, skipped=[stored[name] for name in scenario.skipped]
    )
    await db().execute("UPDATE runs SET request = $2 WHERE id = $1", run.id, msgspec.json.encode(request))
    if scenario.disturb is not None:
        await scenario.disturb(settings, run.id)
    async with Driver(settings) as driver:
        await driver.accept(run.id)
        await _final(run.id)
    row = await queries.find(run.id)
    assert row is not None
    rows = await db().fetch("SELECT fence, body FROM journal WHERE run_id = $1 ORDER BY seq", run.id)
    history = History(
        name=scenario.name,
        nodes=[replace(node, id=drawn[node.id], metadata={}) for node in version.nodes],
        links=[
            replace(link, id="", source_id=drawn[link.source_id], sink_id=drawn[link.sink_id]) for link in version.links
        ],
        accepted_at=view.microseconds(row.created_at.astimezone(UTC)),
        inputs=request.inputs,
        masks=scenario.masks,
        skipped=list(scenario.skipped),
        rows=[(one["fence"], msgspec.Raw(one["body"])) for one in rows],
        seen=None,  # type: ignore[arg-type]
    )
    history.seen = seen_of(history.replay())
    _check(history, row, drawn)
    return history


def _check(history: History, row: Any, drawn: dict[str, str]) -> None:
    """What is kept is what the platform answered."""
    answered = [
        [drawn[one["node_id"]], one["status"], one["input_data"], one["output_data"]]
        for one in msgspec.json.decode(row.node_executions)
    ]
    kept = [act[:4] for act in history.seen.activations]
    assert sorted(map(repr, answered)) == sorted(map(repr, kept)), history.name
    assert msgspec.json.decode(row.outputs) == history.seen.outputs
    assert row.status == history.seen.status


async def _record_all(settings: Settings, wanted: list[str]) -> None:
    await open_database(settings)
    _ = await open_redis(settings)
    try:
        for scenario in scenarios():
            if not wanted or scenario.name in wanted:
                write(await record(scenario, settings))
                sys.stdout.write(f"{scenario.name}\n")
    finally:
        await close_redis()
        await close_database()


def main() -> None:
    clear_environment()
    with tempfile.TemporaryDirectory(prefix="agentplat-replay-") as home, EmbeddedServices() as servers:
        urls = servers.start(Path(home))
        os.environ |= {
            "DATABASE_URL": urls.database_url or "",
            "REDIS_URL": urls.redis_url or "",
            "AGENTPLAT_HOME": home,
            "AGENTPLAT_BLOCK_MODULES": "tests.support.blocks",
            "AGENTPLAT_LEASE": "2",
            "AGENTPLAT_MAX_NODE_EXECUTIONS": str(MOST_EXECUTIONS),
            "JWT_VERIFY_KEY": JWT_KEY,
            "LOG_LEVEL": "WARNING",
        }
        settings = get_settings()
        asyncio.run(migrate(settings))
        asyncio.run(_record_all(settings, sys.argv[1:]))


if __name__ == "__main__":
    main()
