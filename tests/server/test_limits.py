"""How many requests are taken from whom, on a real Redis."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from agentplat.accounts import service as accounts
from agentplat.infra.db import Database
from agentplat.infra.errors import TooMany
from agentplat.infra.redis import connect
from agentplat.infra.settings import Settings
from agentplat.server.app import create_app
from agentplat.server.lifespan import LIMITS
from agentplat.server.limits import ADDRESS, BLIND_SECONDS, USER, WINDOW_SECONDS, Limits
from tests.support.serving import serving

Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def limited(
    db: Database, redis: Redis, settings: Settings, make_token: Callable[..., str]
) -> AsyncIterator[Client]:
    """`limited("ann", rate_limit=60)`: a client of an application of its own, as another process would be."""
    accounts.forget_users()
    clients = []

    def client(
        user_id: str | None = None, *, using: Redis = redis, patience: float = 20, **limits: int
    ) -> httpx.AsyncClient:
        app = create_app(replace(settings, **limits))
        app.state[LIMITS].client = using
        app.state[LIMITS].answer_seconds = patience
        headers = {"Authorization": f"Bearer {make_token(user_id)}"} if user_id else {}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://agentplat", headers=headers))
        return clients[-1]

    yield client
    for opened in clients:
        await opened.aclose()


async def taken(client: httpx.AsyncClient, number: int, path: str = "/api/auth/user/timezone") -> Counter[int]:
    answers = await asyncio.gather(*(client.get(path) for _ in range(number)))
    return Counter(answer.status_code for answer in answers)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"agentplat_rate_limit_{name}_requests_total", labels) or 0


def gained(limit: int, began: float) -> int:
    """What a bucket may have gained since then: it goes on filling, by its limit in a minute."""
    return int((monotonic() - began) * limit / WINDOW_SECONDS)


async def test_of_many_at_once_no_more_than_the_limit_are_taken(limited: Client) -> None:
    before = counted("refused", limit="user")
    client = limited("ann", rate_limit=40)
    began = monotonic()
    found = await taken(client, 100)
    assert 40 <= found[200] <= 40 + gained(40, began)
    assert found[429] == 100 - found[200]
    assert counted("refused", limit="user") == before + found[429]
    # Somebody else has a bucket of their own.
    assert (await limited("bob", rate_limit=40).get("/api/auth/user/timezone")).status_code == 200


async def test_processes_share_a_limit(limited: Client) -> None:
    first, second = limited("ann", rate_limit=40), limited("ann", rate_limit=40)
    began = monotonic()
    found = sum(await asyncio.gather(taken(first, 60), taken(second, 60)), Counter())
    assert 40 <= found[200] <= 40 + gained(40, began)


async def test_answers_tell_what_is_left(limited: Client) -> None:
    client = limited("ann", rate_limit=6)
    began = monotonic()
    for left in (5, 4, 3, 2, 1, 0):
        answer = await client.get("/api/graphs")
        assert answer.headers["ratelimit-limit"] == "6"
        assert 0 < int(answer.headers["ratelimit-reset"]) <= 60
        assert left <= int(answer.headers["ratelimit-remaining"]) <= left + gained(6, began)
    while (refused := await client.get("/api/graphs")).status_code == 200:
        pass  # it has gained one meanwhile, as it does every ten seconds
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["detail"] == "At most 6 requests a minute are taken from one user"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["ratelimit-remaining"] == "0"


async def test_who_waits_as_told_is_let_in(limited: Client) -> None:
    client = limited("ann", rate_limit=60)
    began = monotonic()
    assert (await taken(client, 70))[429] >= 10 - gained(60, began)
    while (refused := await client.get("/api/auth/user/timezone")).status_code == 200:
        pass  # it has gained one meanwhile, as it does once a second
    await asyncio.sleep(int(refused.headers["retry-after"]))
    assert (await client.get("/api/auth/user/timezone")).status_code == 200


class Asking(Redis):
    """Counts what it is asked: the server's own counts are of all who use it."""

    asked = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self.asked += 1
        return await super().execute_command(*args, **options)


async def test_most_requests_ask_redis_nothing(limited: Client, settings: Settings) -> None:
    asking = Asking.from_url(settings.redis_url or "", protocol=2)
    client = limited("ann", using=asking, rate_limit=10_000)
    assert (await taken(client, 250))[200] == 250
    assert 1 <= asking.asked <= 4  # each time for 100 requests; the first time for the script as well
    await asking.aclose()


async def test_without_redis_everybody_is_let_in_and_it_is_counted(limited: Client) -> None:
    before = counted("unchecked")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and listens to nobody
        gone = connect(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        client = limited("ann", using=gone, rate_limit=10)
        assert (await taken(client, 30))[200] == 30
        assert counted("unchecked") == before + 30
        assert "ratelimit-limit" not in (await client.get("/api/graphs")).headers
        await gone.aclose()


async def test_a_redis_that_does_not_answer_is_not_waited_for_twice(limited: Client) -> None:
    heard = 0

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += 1
        await reader.read()

    async with serving(listen) as port:
        hanging = connect(f"redis://127.0.0.1:{port}/0")
        client = limited("ann", using=hanging, patience=0.5, rate_limit=10)
        began = monotonic()
        assert (await taken(client, 20))[200] == 20
        assert 1 <= heard <= 1 + (monotonic() - began) / BLIND_SECONDS
        await hanging.aclose()


async def test_nought_is_no_limit(limited: Client) -> None:
    answer = await limited("ann", rate_limit=0).get("/api/graphs")
    assert answer.status_code == 200
    assert "ratelimit-limit" not in answer.headers


async def test_a_key_has_a_limit_of_its_own_within_its_owners(limited: Client, redis: Redis) -> None:
    client = limited("ann", rate_limit=100, rate_limit_per_key=10)
    first = monotonic()
    body = {"name": "x", "permissions": ["READ_BLOCK"]}
    keys = [(await client.post("/api/api-keys", json=body)).json()["plain_text_key"] for _ in range(2)]
    statuses = [Counter[int]() for _ in keys]
    for key, found in zip(keys, statuses, strict=True):
        began = monotonic()
        for _ in range(12):
            answer = await client.get("/external-api/v1/blocks", headers={"X-API-Key": key})
            found[answer.status_code] += 1
        assert 10 <= found[200] <= 10 + gained(10, began)
        assert found[429] == 12 - found[200]
    left = int((await client.get("/api/graphs")).headers["ratelimit-remaining"])
    assert 75 <= left <= 81 + gained(100, first)
    assert not any(key.encode() in name for name in await redis.keys() for key in keys)


async def test_strangers_are_limited_by_their_address(limited: Client) -> None:
    client, began = limited(rate_limit_sign_in=5), monotonic()
    body = {"email": "ann@example.com", "password": "wrong"}
    answers = [await client.post("/auth/v1/token?grant_type=refresh_token", json=body) for _ in range(7)]
    found = Counter(answer.status_code for answer in answers)
    assert 5 <= found[400] <= 5 + gained(5, began)
    assert found[429] == 7 - found[400]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 429} <= {"rate_limited"}
    assert (await client.get("/health")).status_code == 200


async def test_a_client_that_leaves_takes_nobody_along(redis: Redis, settings: Settings) -> None:
    """All that wait for tokens wait for one question, which the first of them has asked."""
    limits = Limits(replace(settings, rate_limit=100))
    limits.client = redis
    began = monotonic()
    first = asyncio.create_task(limits.take({}, USER, "ann"))
    others = [asyncio.create_task(limits.take({}, USER, "ann")) for _ in range(20)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    left = 0
    with suppress(TooMany):
        while True:
            await limits.take({}, USER, "ann")
            left += 1
    assert 79 <= left <= 81 + gained(100, began)


async def test_kinds_do_not_share(redis: Redis, settings: Settings) -> None:
    limits = Limits(replace(settings, rate_limit=1, rate_limit_sign_in=1))
    limits.client = redis
    await limits.take({}, USER, "x")
    await limits.take({}, ADDRESS, "x")
