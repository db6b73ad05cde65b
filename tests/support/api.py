"""The API in this process, on the real database: the same application that the server runs, without its sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from agentplat.accounts import service as accounts
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.server.app import create_app
from tests.support.graphs import INPUT, OUTPUT, STORE

Api = Callable[..., httpx.AsyncClient]

NOBODYS_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def api(db: Database, settings: Settings, make_token: Callable[..., str]) -> AsyncIterator[Api]:
    """`api("ann")`: a client that asks as Ann; `api()` asks without a token."""
    accounts.forget_users()
    transport = httpx.ASGITransport(create_app(settings), raise_app_exceptions=False)  # type: ignore[arg-type]
    clients: list[httpx.AsyncClient] = []

    def client(user_id: str | None = None, **claims: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {make_token(user_id, **claims)}"} if user_id else {}
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://agentplat", headers=headers))
        return clients[-1]

    yield client
    for opened in clients:
        await opened.aclose()


def leaving(app: Any) -> Any:
    """The application for requests without a body of somebody who leaves as soon as an answer begins."""

    async def served(scope: Any, _: Any, send: Any) -> None:
        asked, begun = asyncio.Event(), asyncio.Event()

        async def heard() -> Any:
            if asked.is_set():
                await begun.wait()
                return {"type": "http.disconnect"}
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def told(message: Any) -> None:
            await send(message)
            begun.set()

        await app(scope, heard, told)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return served


def echo_graph(**members: Any) -> dict[str, Any]:
    """One input, stored, one output."""
    return {
        "name": "Echo",
        "description": "Says what it hears",
        "nodes": [
            {"id": "in", "block_id": INPUT, "input_default": {"name": "said", "value": "hello"}},
            {"id": "store", "block_id": STORE, "metadata": {"position": {"x": 1.5, "y": 2}}},
            {"id": "out", "block_id": OUTPUT, "input_default": {"name": "heard"}},
        ],
        "links": [
            {"source_id": "in", "source_name": "result", "sink_id": "store", "sink_name": "input"},
            {"source_id": "store", "source_name": "output", "sink_id": "out", "sink_name": "value"},
        ],
    } | members


async def created(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post("/api/graphs", json={"graph": echo_graph(**members)})
    assert response.status_code == 200, response.text
    stored: dict[str, Any] = response.json()
    return stored
