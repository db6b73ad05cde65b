"""Runs that cost something: A26, crashes around a payment, and what is free."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.credits import service as credits
from agentplat.engine.messages import NodeStarted, RunBegan, decode
from agentplat.events import streams as events
from agentplat.infra.db import Database
from agentplat.infra.errors import AppError
from agentplat.infra.settings import get_settings
from agentplat.runs import queries
from agentplat.runs.driver import Driver
from agentplat.runs.nodes import now_us
from tests.runs.test_driver import DeadWorker
from tests.support.blocks import PaidBlock
from tests.support.conditions import until
from tests.support.drawing import PAID, STORE, draw
from tests.support.hosting import final, outcomes
from tests.support.ledger import unsound_accounts
from tests.support.switches import environment_of
from tests.support.world import ANN, save, start

CHAIN = draw(
    {
        "a": (PAID, {"v": 1}),
        "b": (PAID, {}),
        "c": (PAID, {}),
        "slow": (PAID, {"v": 1, "delay": 600}),
        "after": (STORE, {}),
    },
    "a.out -> b.v",
    "b.out -> c.v",
    "c.error -> after.input",
)


@pytest.fixture
async def driver(db: Database, redis: Redis) -> AsyncIterator[Driver]:
    with environment_of(ENABLE_CREDIT="true"):
        async with Driver(get_settings()) as one:
            yield one
        assert await unsound_accounts(db) == []


async def test_a_run_ends_when_a_node_can_not_be_paid(driver: Driver) -> None:
    graph = await save(CHAIN)
    await credits.grant(ANN.id, 3, "gift", "gift")
    run = await start(graph)
    await driver.accept(run.id)
    seen = await final(run)
    text = "Insufficient balance of $0.00, where this will cost $0.01"
    assert (seen["status"], seen["stats"]["error"]) == ("FAILED", text)
    done = outcomes(seen, graph)
    assert done["slow"] == [("TERMINATED", {})]
    assert done["a"] == done["b"] == [("COMPLETED", {"out": [1]})]
    assert done["c"] == [("FAILED", {"error": [text]})]
    assert "after" not in done
    assert seen["stats"]["cost"] == 3
    assert await credits.balance(ANN.id) == 0


async def test_who_ran_out_is_told_once_until_there_are_new_credits(driver: Driver, redis: Redis) -> None:
    graph = await save(CHAIN)

    async def told() -> list[dict[str, Any]]:
        entries = await redis.xrange(events.stream_of(ANN.id))
        return [msgspec.json.decode(fields[b"n"]) for _, fields in entries if b"n" in fields]

    async def enough() -> bool:
        return len(await told()) >= times

    for times in (1, 2):
        await credits.grant(ANN.id, 1, f"gift {times}", "gift")
        for run in [await start(graph) for _ in range(3)]:
            await driver.accept(run.id)
            assert (await final(run))["status"] == "FAILED"
        await until(enough)
    first, second = await told()
    assert first.pop("graph_exec_id") != second.pop("graph_exec_id")
    expected = {"event": "insufficient_funds", "graph_id": graph.id, "current_balance": 0, "shortfall": 1}
    assert first == second == {"type": "ZERO_BALANCE", **expected}


async def test_who_has_nothing_starts_nothing(driver: Driver, db: Database) -> None:
    graph = await save(CHAIN)
    with pytest.raises(AppError, match="Insufficient balance") as refused:
        await start(graph)
    assert refused.value.status == 402
    await credits.grant(ANN.id, 1, "gift", "gift")
    run = await start(graph)
    await credits.grant(ANN.id, -1, "taken back", "taken back")
    await driver.accept(run.id)
    seen = await final(run)
    assert (seen["status"], seen["stats"]["error"]) == ("FAILED", "You have no credits left to run an agent.")
    assert outcomes(seen, graph) == {"a": [("QUEUED", {})], "slow": [("QUEUED", {})]}


async def test_a_start_that_was_paid_is_not_paid_again_after_a_crash(driver: Driver) -> None:
    graph = await save(draw({"a": (PAID, {"v": 1})}))
    await credits.grant(ANN.id, 5, "gift", "gift")
    run = await start(graph)
    await driver.accept(run.id)
    assert (await final(run))["status"] == "COMPLETED"
    assert await credits.balance(ANN.id) == 4
    usage = [one for one in await credits.history(ANN.id) if one.type == "USAGE"]
    assert len(usage) == 1
    row = await queries.find(run.id)
    assert row is not None
    segments = await queries.read_journal(run.id, row.created_at.astimezone(UTC).date())
    starts = [message for one in segments for message in decode(one.body) if isinstance(message, NodeStarted)]
    assert [message.cost for message in starts] == [1]


async def test_a_paid_start_whose_worker_died_is_not_paid_twice(driver: Driver) -> None:
    """The block has effects that may not be repeated, so it fails as interrupted; its price stays paid once."""
    graph = await save(draw({"a": (PAID, {"v": 1})}))
    await credits.grant(ANN.id, 5, "gift", "gift")
    run = await start(graph)
    cost = credits.cost_of(PaidBlock.spec.costs, {})
    await credits.spend(ANN.id, credits.node_charge(cost, run.id, graph.id, "key", "a", PAID, "PaidBlock"))
    await DeadWorker(run).left(RunBegan(now_us()), NodeStarted(1, now_us(), 1))
    await driver.accept(run.id)
    seen = await final(run)
    assert outcomes(seen, graph)["a"][0][0] == "FAILED"
    assert seen["stats"]["cost"] == 1
    assert await credits.balance(ANN.id) == 4


async def test_many_runs_on_one_purse_spend_it_to_the_last_credit(driver: Driver) -> None:
    graph = await save(draw({"a": (PAID, {"v": 1}), "b": (PAID, {})}, "a.out -> b.v"))
    await credits.grant(ANN.id, 15, "gift", "gift")
    runs = [await start(graph) for _ in range(12)]
    await asyncio.gather(*(driver.accept(run.id) for run in runs))
    seen = [await final(run) for run in runs]
    assert sum(one["stats"]["cost"] for one in seen) == 15
    assert await credits.balance(ANN.id) == 0
    assert {one["status"] for one in seen} == {"COMPLETED", "FAILED"}


async def test_free_blocks_leave_no_trace_in_the_ledger(driver: Driver) -> None:
    graph = await save(draw({"a": (STORE, {"input": 1}), "b": (STORE, {})}, "a.output -> b.input"))
    await credits.grant(ANN.id, 5, "gift", "gift")
    run = await start(graph)
    await driver.accept(run.id)
    assert (await final(run))["stats"]["cost"] == 0
    assert [one.type for one in await credits.history(ANN.id)] == ["GRANT"]
