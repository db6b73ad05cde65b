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
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agentplat.accounts.models import User
from agentplat.credits import service as credits
from agentplat.embedded import EmbeddedServices
from agentplat.engine.graph import Node
from agentplat.engine.state import FINAL
from agentplat.graphs import service as graphs
from agentplat.infra.db import close_database, db, open_database
from agentplat.infra.migrate import migrate
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings, get_settings
from agentplat.runs import queries, reviewing, view
from agentplat.runs.driver import Driver
from agentplat.runs.reviewing import ReviewItem
from tests.acceptance.examples import EXAMPLES
from tests.replay.history import History, seen_of, write
from tests.support.drawing import (
    AGENT,
    CALCULATOR,
    DECIDE,
    EFFECT,
    INPUT,
    MID,
    OUTPUT,
    PAID,
    PRINT,
    REVIEW,
    SLOW,
    SPILL,
    STEP,
    STORE,
    TWO,
    Drawing,
    agent,
    draw,
)
from tests.support.fake_llm import running
from tests.support.services import JWT_KEY, clear_environment
from tests.support.world import names, save, start

MOST_EXECUTIONS = 60

CREDENTIALS = {"id": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "provider": "openai", "type": "api_key"}

Disturb = Callable[[Settings, str], Awaitable[None]]


class Scenario(Struct, frozen=True):
    """`disturb` drives the run as far as it likes; afterwards a worker drives it to its end, with all runs below it.

    Where the drawing has `@below` for a graph, that drawing is meant. `purse` is what the user owns.
    """

    name: str
    drawing: Drawing
    inputs: dict[str, Any] = {}
    masks: dict[str, dict[str, Any]] = {}
    skipped: tuple[str, ...] = ()
    disturb: Disturb | None = None
    below: Drawing | None = None
    purse: int = 1000
    sensitive: bool = False


async def _rows(run_id: str, at_least: int) -> None:
    while await db().fetchval("SELECT count(*) FROM journal WHERE run_id = $1", run_id) < at_least:
        await asyncio.sleep(0.01)


async def _abandoned(settings: Settings, run_id: str) -> None:
    """Its worker is gone in the middle, so that the next one finds nodes that were started and have no outcome."""
    driver = Driver(settings)
    async with driver:
        await driver.accept(run_id)  # unless its own sweep has done so
        await _rows(run_id, 4)
    await db().execute("UPDATE runs SET lease_until = NULL WHERE status = 'RUNNING'")


async def _stopped(settings: Settings, run_id: str) -> None:
    async with Driver(settings) as driver:
        await driver.accept(run_id)  # unless its own sweep has done so
        await _rows(run_id, 1)
        await db().execute("UPDATE runs SET stop_requested_at = now() WHERE id = $1", run_id)
        await _final(run_id)


def _answered(approved: bool, **more: Any) -> Disturb:
    """A person answers all that the run asks at first."""

    async def disturb(settings: Settings, run_id: str) -> None:
        async with Driver(settings) as driver:
            await driver.accept(run_id)  # unless its own sweep has done so
            await _status(run_id, "REVIEW")
        user_id = await db().fetchval("SELECT user_id FROM runs WHERE id = $1", run_id)
        waiting = await reviewing.pending_of_run(user_id, run_id)
        items = [ReviewItem(node_exec_id=one.node_exec_id, approved=approved, **more) for one in waiting]
        _ = await reviewing.answer(user_id, items)

    return disturb


async def _status(run_id: str, *wanted: str) -> None:
    async with asyncio.timeout(30):
        while await db().fetchval("SELECT status FROM runs WHERE id = $1", run_id) not in wanted:
            await asyncio.sleep(0.01)


async def _final(run_id: str) -> None:
    await _status(run_id, *FINAL)


async def _final_below(run_id: str) -> None:
    for row in await db().fetch("SELECT id FROM runs WHERE parent_id = $1", run_id):
        await _final(row["id"])


def scenarios() -> list[Scenario]:
    return [*_alone(), *_with_others()]


def _with_others() -> list[Scenario]:
    leaf = draw(
        {
            "q": (INPUT, {"name": "q"}),
            "w": (SLOW, {"delay": 1.5}),
            "one": (OUTPUT, {"name": "ans"}),
            "two": (OUTPUT, {"name": "ans"}),
        },
        "q.result -> one.value",
        "q.result -> w.v",
        "w.out -> two.value",
    )
    failing = draw({"o": (OUTPUT, {"name": "error", "value": "no"}), "w": (SLOW, {"v": 1, "delay": 20})})
    review = draw(
        {
            "a": (STORE, {"input": "draft"}),
            "h": (REVIEW, {"name": "Draft"}),
            "ok": (STORE, {}),
            "rej": (STORE, {}),
            "other": (STORE, {"input": 9}),
        },
        "a.output -> h.data",
        "h.approved_data -> ok.input",
        "h.rejected_data -> rej.input",
    )
    sensitive = draw({"p": (PRINT, {"text": "secret"}), "s": (STORE, {})}, "p.output -> s.input")
    paid = draw(
        {"st": (STEP, {"items": [1, 2, 3]}), "p": (PAID, {}), "s": (STORE, {})}, "st.item -> p.v", "p.out -> s.input"
    )
    tried = draw({"m": (MID, {"go": 1}), "s": (STORE, {}), "e": (STORE, {})}, "m.a -> s.input", "m.error -> e.input")
    policy = {"retry": {"attempts": 3, "delay": 0.1}}
    tool = {"d": _caller('[[tool: t {"q": "x"}]]', agent_mode_max_iterations=1), "t": (TWO, {}), "z": (STORE, {})}
    links = ("d.tools -> t.q", "d.tools -> t.u", "t.o -> z.input")
    above = {"st": (STEP, {"items": [1, 2]}), "ae": agent("@below", 1, {}, "q", "ans"), "s": (STORE, {})}
    return [
        Scenario("sub-runs", draw(above, "st.item -> ae.q", "ae.ans -> s.input"), below=leaf),
        Scenario("sub-run that fails", draw({"ae": agent("@below", 1, {}, "", "error")}), below=failing),
        Scenario("review approved", review, disturb=_answered(True, message="better so", reviewed_data="final")),
        Scenario("review rejected", review, disturb=_answered(False)),
        Scenario("released", sensitive, disturb=_answered(True, reviewed_data={"text": "harmless"}), sensitive=True),
        Scenario("refused", sensitive, disturb=_answered(False), sensitive=True),
        Scenario("charged", paid),
        Scenario("run dry", paid, purse=2),
        Scenario("retried", Drawing([replace(tried.nodes[0], metadata=policy), *tried.nodes[1:]], tried.links)),
        Scenario("tool called", draw(tool, *links)),
    ]


def _caller(prompt: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """A model that is told by its prompt what to call."""
    return DECIDE, {"prompt": prompt, "model": "gpt-4o-mini", "credentials": CREDENTIALS, **more}


def _alone() -> list[Scenario]:
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


async def _drawn(scenario: Scenario, user: User) -> Drawing:
    """The drawing with the stored graph below it."""
    if scenario.below is None:
        return scenario.drawing
    below = await save(scenario.below, user)
    named = {"graph_id": below.id, "graph_version": below.version}
    return Drawing(
        [
            replace(node, input_default=node.input_default | named) if node.block_id == AGENT else node
            for node in scenario.drawing.nodes
        ],
        scenario.drawing.links,
    )


async def record(scenario: Scenario, settings: Settings) -> History:
    user = User(id=f"user-{uuid4()}", email="user@example.com")
    graph = await save(await _drawn(scenario, user), user)
    await credits.grant(user.id, scenario.purse, "gift", "gift")
    version = await graphs.load(graph.id, graph.version)
    drawn = names(graph)
    stored = {name: node_id for node_id, name in drawn.items()}
    run = await start(graph, user, **scenario.inputs)
    row = await queries.find(run.id)
    assert row is not None
    masks = {stored[name]: mask for name, mask in scenario.masks.items()}
    request = replace(
        view.decode_request(row.request),
        masks=masks,
        skipped=[stored[name] for name in scenario.skipped],
        sensitive_action_safe_mode=scenario.sensitive,
    )
    await db().execute("UPDATE runs SET request = $2 WHERE id = $1", run.id, msgspec.json.encode(request))
    if scenario.disturb is not None:
        await scenario.disturb(settings, run.id)
    async with Driver(settings) as driver:
        await driver.accept(run.id)
        await _final(run.id)
        await _final_below(run.id)
    row = await queries.find(run.id)
    assert row is not None
    rows = await db().fetch("SELECT fence, body FROM journal WHERE run_id = $1 ORDER BY seq", run.id)
    history = History(
        name=scenario.name,
        nodes=[_without_ids(replace(node, id=drawn[node.id], metadata={}), user) for node in version.nodes],
        links=[
            replace(link, id="", source_id=drawn[link.source_id], sink_id=drawn[link.sink_id]) for link in version.links
        ],
        accepted_at=view.microseconds(row.created_at.astimezone(UTC)),
        inputs=request.inputs,
        masks=scenario.masks,
        skipped=list(scenario.skipped),
        rows=[(one["fence"], msgspec.Raw(_renamed(one["body"], drawn))) for one in rows],
        seen=None,  # type: ignore[arg-type]
    )
    history.seen = seen_of(history.replay())
    _check(history, row, drawn)
    return history


def _without_ids(node: Node, user: User) -> Node:
    """As drawn: which graph and whose it was matters to no machine."""
    if node.block_id != AGENT:
        return node
    return replace(node, input_default=node.input_default | {"graph_id": "below", "user_id": ""})


def _renamed(body: bytes, drawn: dict[str, str]) -> bytes:
    """Names of tools and their pins are made of stored ids."""
    for node_id, name in drawn.items():
        body = body.replace(node_id.encode(), name.encode())
    return body


def _check(history: History, row: Any, drawn: dict[str, str]) -> None:
    """What is kept is what the platform answered."""
    answered = [
        [drawn[one["node_id"]], one["status"], one["input_data"], one["output_data"]]
        for one in msgspec.json.decode(row.node_executions)
    ]
    answered = msgspec.json.decode(_renamed(msgspec.json.encode(answered), drawn))
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
    with (
        tempfile.TemporaryDirectory(prefix="agentplat-replay-") as home,
        EmbeddedServices() as servers,
        running() as (llm, _),
    ):
        urls = servers.start(Path(home))
        os.environ |= {
            "DATABASE_URL": urls.database_url or "",
            "REDIS_URL": urls.redis_url or "",
            "AGENTPLAT_HOME": home,
            "AGENTPLAT_BLOCK_MODULES": "tests.support.blocks",
            "AGENTPLAT_LEASE": "2",
            "AGENTPLAT_MAX_NODE_EXECUTIONS": str(MOST_EXECUTIONS),
            "ENABLE_CREDIT": "true",
            "OPENAI_BASE_URL": llm,
            "OPENAI_API_KEY": "fake-llm",
            "JWT_VERIFY_KEY": JWT_KEY,
            "LOG_LEVEL": "WARNING",
        }
        settings = get_settings()
        asyncio.run(migrate(settings))
        asyncio.run(_record_all(settings, sys.argv[1:]))


if __name__ == "__main__":
    main()
