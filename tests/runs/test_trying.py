"""Blocks that are executed by hand: with credentials, and not for nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from agentplat.blocks import service as blocks
from agentplat.blocks.builtin.llm import AITextGeneratorBlock
from agentplat.credits import service as credits
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.server.app import create_app
from tests.support.api import NOBODYS_ID, Api
from tests.support.drawing import PAID, PAID_APART, STORE
from tests.support.fake_llm import running
from tests.support.ledger import unsound_accounts
from tests.support.switches import environment_of

SYSTEM_OPENAI = {"id": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "provider": "openai", "type": "api_key"}


@pytest.fixture(autouse=True)
async def shared() -> AsyncIterator[None]:
    """What blocks share is bound to addresses, and what isolated ones do to the loop that started their processes."""
    await blocks.close()
    yield
    await blocks.close()


@pytest.fixture
async def model(shared: None) -> AsyncIterator[None]:
    """A model that wants a key, and knows no user's."""
    with running() as (url, _), environment_of(OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-platform", ENABLE_CREDIT="true"):
        yield


async def execute(client: httpx.AsyncClient, block_id: str, **data: Any) -> httpx.Response:
    return await client.post(f"/api/blocks/{block_id}/execute", json=data)


async def generate(client: httpx.AsyncClient, credentials: dict[str, Any]) -> httpx.Response:
    given = {"prompt": "[[reply: well]]", "model": "gpt-4o-mini", "credentials": credentials}
    return await execute(client, AITextGeneratorBlock.id, **given)


async def key_of(client: httpx.AsyncClient, provider: str = "openai") -> dict[str, Any]:
    secret = {"type": "api_key", "title": "Mine", "api_key": "s3cret"}
    stored = (await client.post(f"/api/integrations/{provider}/credentials", json=secret)).json()
    return {name: stored[name] for name in ("id", "provider", "type")}


async def test_credentials_are_opened_for_the_block(api: Api, model: None, db: Database) -> None:
    ann = api("ann")
    mine = await generate(ann, await key_of(ann))
    assert (mine.status_code, mine.json()["response"]) == (200, ["well"])
    assert await db.fetchval("SELECT count(*) FROM credit_transactions") == 0  # one's own cost nothing
    platforms = await generate(ann, SYSTEM_OPENAI)
    assert (platforms.status_code, platforms.json()["code"]) == (402, "insufficient_balance")
    await credits.grant("ann", 10, "gift", "gift")
    assert (await generate(ann, SYSTEM_OPENAI)).json()["response"] == ["well"]
    assert await credits.balance("ann") == 9


async def test_credentials_that_do_not_fit_are_refused(api: Api, model: None) -> None:
    ann = api("ann")
    foreign, other = await key_of(api("bob")), await key_of(ann, "github")
    for given in (foreign, SYSTEM_OPENAI | {"id": NOBODYS_ID}, SYSTEM_OPENAI | {"id": "\0"}, other, {"id": ""}, {}):
        refused = await generate(ann, given)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request"), given
        assert "raised by AITextGeneratorBlock with message: " in refused.json()["message"]
        assert "s3cret" not in refused.text


async def test_an_isolated_block_is_given_them_as_well(api: Api, db: Database) -> None:
    ann = api("ann")
    with environment_of(ENABLE_CREDIT="true"):
        key = await key_of(ann)
        await credits.grant("ann", 1, "gift", "gift")
        unknown = await execute(ann, PAID_APART, credentials=key | {"id": NOBODYS_ID})
        assert (unknown.status_code, await credits.balance("ann")) == (400, 1)
        assert (await execute(ann, PAID_APART, credentials=key)).json()["key"] == ["s3cret"]
        assert await credits.balance("ann") == 0


async def test_a_block_costs_what_its_node_would(api: Api, db: Database, redis: Redis) -> None:
    ann = api("ann")
    with environment_of(ENABLE_CREDIT="true"):
        assert (await execute(ann, PAID)).status_code == 400, "what can't begin needs no balance"
        await credits.grant("ann", 5, "gift", "gift")
        answers = await asyncio.gather(*(execute(ann, PAID, v=number) for number in range(20)))
        assert Counter(answer.status_code for answer in answers) == {200: 5, 402: 15}
        assert await credits.balance("ann") == 0
        assert (await execute(ann, STORE, input=1)).json() == {"output": [1]}, "what has no price needs no balance"
        history = (await ann.get("/api/credits/transactions")).json()["transactions"]
        assert [one["amount"] for one in history] == [-1] * 5 + [5]
        assert history[0]["reason"].startswith(f"Ran block {PAID} ")
    assert await unsound_accounts(db) == []


async def test_programs_pay_as_people_do(api: Api, db: Database, redis: Redis) -> None:
    ann, program = api("ann"), api()
    key = (await ann.post("/api/api-keys", json={"name": "p", "permissions": ["EXECUTE_BLOCK"]})).json()
    program.headers["X-API-Key"] = key["plain_text_key"]
    path = f"/external-api/v1/blocks/{PAID}/execute"
    with environment_of(ENABLE_CREDIT="true"):
        assert (await program.post(path, json={"v": 1})).status_code == 402
        await credits.grant("ann", 1, "gift", "gift")
        assert (await program.post(path, json={"v": 1})).json() == {"out": [1]}
        assert await credits.balance("ann") == 0


def impatient(app: Any) -> Any:
    """The application for clients that leave as soon as they have sent their request."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        sent = False

        async def heard() -> Any:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            event = await receive()
            sent = not event["more_body"]
            return event

        await app(scope, heard, send)

    return served


async def test_what_nobody_waits_for_is_given_up(api: Api, redis: Redis, settings: Settings) -> None:
    ann = api("ann")
    key = (await ann.post("/api/api-keys", json={"name": "p", "permissions": ["EXECUTE_BLOCK"]})).json()
    headers = {**ann.headers, "X-API-Key": key["plain_text_key"]}
    transport = httpx.ASGITransport(impatient(create_app(settings)))
    async with httpx.AsyncClient(transport=transport, base_url=ann.base_url, headers=headers) as leaving:
        for path in ("/api", "/external-api/v1"):
            async with asyncio.timeout(30):
                answer = await leaving.post(f"{path}/blocks/{PAID}/execute", json={"v": 1, "delay": 600})
            assert answer.json()["code"] == "client_left"
