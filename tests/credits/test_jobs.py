"""What runs spend, and what a worker does about it beside them."""

import asyncio

from redis.asyncio import Redis

from agentplat.credits import service
from agentplat.credits.jobs import looking_after_payments
from agentplat.infra.db import Database
from agentplat.infra.settings import get_settings
from agentplat.runs.driver import Driver
from tests.credits.test_payments import CREDITS, ok, statuses, top_ups
from tests.credits.test_stored_cards import with_card
from tests.support.api import Api
from tests.support.conditions import until
from tests.support.drawing import PAID, draw
from tests.support.hosting import final
from tests.support.stripe import FakeStripe
from tests.support.switches import environment_of
from tests.support.world import ANN, save, start


async def test_a_run_that_spends_has_the_balance_topped_up(
    stripe: FakeStripe, api: Api, db: Database, redis: Redis
) -> None:
    await with_card(stripe, 1000, threshold=1000, amount=5000)
    graph = await save(draw({"a": (PAID, {"v": 1}), "b": (PAID, {})}, "a.out -> b.v"))
    async with Driver(get_settings()) as driver, looking_after_payments():
        run = await start(graph)
        await driver.accept(run.id)
        assert (await final(run))["status"] == "COMPLETED"

        async def is_topped_up() -> bool:
            return await top_ups(db) == [5000]

        await until(is_topped_up)
    assert await service.balance(ANN.id) == 5998
    spent = next(
        entry
        for entry in (await ok(api("ann").get(f"{CREDITS}/transactions")))["transactions"]
        if entry["transaction_type"] == "USAGE"
    )
    assert (spent["usage_execution_id"], spent["usage_graph_id"]) == (run.id, graph.id)
    assert (spent["amount"], spent["usage_node_count"]) == (-2, 2)


async def test_without_stripe_there_is_nothing_to_look_after(stripe: FakeStripe, db: Database) -> None:
    await with_card(stripe, 10, threshold=5000, amount=0)
    await db.execute("UPDATE balances SET top_up_due = true")
    for switched_off in ({"STRIPE_API_KEY": ""}, {"ENABLE_CREDIT": "false"}):
        before = asyncio.all_tasks()
        with environment_of(**switched_off):
            async with looking_after_payments():
                assert asyncio.all_tasks() == before
    assert await statuses(db) == []
