"""Requests of blocks: tried again they have the key that they had, so a service can tell that it knows them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs.driver import Driver
from tests.runs.test_policies import with_metadata
from tests.support.drawing import SEND, draw
from tests.support.hosting import final
from tests.support.serving import serving
from tests.support.world import save, start


class Service:
    """A server that takes down method and key of each request. It fails the first ones: cut off, then refused."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.failures = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append((lines[0].split()[0], headers.get("idempotency-key")))
        if len(self.seen) > 1 or not self.failures:
            status = "500 Oops" if len(self.seen) <= self.failures else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
            await writer.drain()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    one = Service()
    async with serving(one.answer) as port:
        one.url = f"http://127.0.0.1:{port}/"
        yield one


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


async def sent(driver: Driver, service: Service, *methods: str, attempts: int = 1, **headers: str) -> dict[str, Any]:
    constants = {"url": service.url, "methods": list(methods), "headers": headers}
    drawing = draw({"s": (SEND, constants)})
    run = await start(await save(with_metadata(drawing, "s", retry={"attempts": attempts, "delay": 0.01})))
    await driver.accept(run.id)
    (execution,) = (await final(run))["node_executions"]
    assert execution["status"] == "COMPLETED", execution["output_data"]
    return execution


async def test_every_attempt_has_the_key_of_the_execution(driver: Driver, service: Service) -> None:
    service.failures = 2
    execution = await sent(driver, service, "POST", attempts=3)
    assert service.seen == [("POST", execution["node_exec_id"])] * 3


async def test_different_requests_of_one_execution_have_different_keys(driver: Driver, service: Service) -> None:
    key = (await sent(driver, service, "POST", "patch", "POST"))["node_exec_id"]
    assert service.seen == [("POST", key), ("PATCH", f"{key}:2"), ("POST", f"{key}:3")]


async def test_what_may_be_repeated_needs_no_key(driver: Driver, service: Service) -> None:
    await sent(driver, service, "GET", "PUT", "DELETE")
    assert service.seen == [("GET", None), ("PUT", None), ("DELETE", None)]


async def test_a_key_of_the_users_own_is_left_alone(driver: Driver, service: Service) -> None:
    await sent(driver, service, "POST", **{"idempotency-key": "mine"})
    assert service.seen == [("POST", "mine")]
