"""A user of a running platform, as tests need one."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.support.conditions import PATIENCE_SECONDS, until
from tests.support.drawing import Drawing

FINAL = {"COMPLETED", "FAILED", "TERMINATED"}


class User:
    """Use as `async with User(url, token) as user`."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_SECONDS
        )

    async def __aenter__(self) -> "User":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def create(self, drawing: Drawing) -> tuple[dict[str, Any], dict[str, str]]:
        """The stored graph, and the drawn name of each of its nodes."""
        response = await self.http.post("/api/graphs", json={"graph": drawing.as_graph()})
        assert response.status_code == 200, response.text
        graph: dict[str, Any] = response.json()
        return graph, {node["id"]: node["metadata"]["customized_name"] for node in graph["nodes"]}

    async def start(self, graph: dict[str, Any], inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        path = f"/api/graphs/{graph['id']}/execute/{graph['version']}"
        response = await self.http.post(path, json={"inputs": inputs or {}})
        assert response.status_code == 200, response.text
        run: dict[str, Any] = response.json()
        return run

    async def look(self, run: dict[str, Any]) -> dict[str, Any]:
        response = await self.http.get(f"/api/graphs/{run['graph_id']}/executions/{run['id']}")
        assert response.status_code == 200, response.text
        seen: dict[str, Any] = response.json()
        return seen

    async def finished(self, run: dict[str, Any], seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The run once it is final."""

        async def final() -> dict[str, Any] | None:
            seen = await self.look(run)
            return seen if seen["status"] in FINAL else None

        seen = await until(final, seconds)
        assert seen is not None
        return seen

    async def stop(self, run: dict[str, Any]) -> Any:
        response = await self.http.post(f"/api/graphs/{run['graph_id']}/executions/{run['id']}/stop")
        assert response.status_code == 200, response.text
        return response.json()

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["Socket"]:
        address = f"ws{self.url.removeprefix('http')}/ws?token={self.token}"
        # Where many frames were not read, the answer to the close stands behind them, and would be waited for in vain.
        async with connect(address, max_size=None, close_timeout=0.5) as connection:
            yield Socket(connection)


class Socket:
    """An event socket. `frames` are the numbers of messages that its frames had."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[int] = []
        self._messages: deque[dict[str, Any]] = deque()

    async def ask(self, method: str, data: Any = None) -> dict[str, Any]:
        """Send a request; the next message, which is its answer where no events come in between."""
        await self.tell(method, data)
        return await self.next()

    async def next(self, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        if not self._messages:
            async with asyncio.timeout(seconds):
                frame = json.loads(await self.connection.recv())
            several = frame if isinstance(frame, list) else [frame]
            self.frames.append(len(several))
            self._messages.extend(several)
        return self._messages.popleft()

    async def tell(self, method: str, data: Any = None) -> None:
        await self.connection.send(json.dumps({"method": method, "data": data}))

    async def until_final(self) -> list[dict[str, Any]]:
        """All events up to the run's last one."""
        events = []
        while True:
            events.append(await self.next())
            if events[-1]["method"] == "graph_execution_event" and events[-1]["data"]["status"] in FINAL:
                return events


def executions(seen: dict[str, Any], names: dict[str, str]) -> dict[str, list[tuple[str, Any, Any]]]:
    """Per drawn node, in the order of the answer: status, input, output of its executions."""
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    for one in seen["node_executions"]:
        found.setdefault(names[one["node_id"]], []).append((one["status"], one["input_data"], one["output_data"]))
    return found
