"""A lean client of a running platform: what a benchmark asks must not cost more than what it measures."""

from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

FINAL = ("COMPLETED", "FAILED", "TERMINATED")


class Client:
    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self.http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, limits=limits
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def create(self, graph: dict[str, Any]) -> dict[str, Any]:
        response = await self.http.post("/api/graphs", json={"graph": graph})
        response.raise_for_status()
        created: dict[str, Any] = msgspec.json.decode(response.content)
        return created

    async def start(self, graph: dict[str, Any]) -> str:
        response = await self.http.post(f"/api/graphs/{graph['id']}/execute/{graph['version']}", json={})
        response.raise_for_status()
        return str(msgspec.json.decode(response.content)["id"])

    async def stop(self, graph: dict[str, Any], run_id: str) -> str:
        """The status after that."""
        response = await self.http.post(f"/api/graphs/{graph['id']}/executions/{run_id}/stop")
        response.raise_for_status()
        return str(msgspec.json.decode(response.content)["status"])

    async def watch(self, graph: dict[str, Any]) -> ClientConnection:
        """A socket that gets the run events of all runs of the graph."""
        address = f"ws{self.url.removeprefix('http')}/ws?token={self.token}"
        socket = await connect(address, max_size=None)
        request = {"method": "subscribe_graph_executions", "data": {"graph_id": graph["id"]}}
        await socket.send(msgspec.json.encode(request).decode())
        await socket.recv()
        return socket


class _Data(msgspec.Struct):
    id: str
    status: str


class _Event(msgspec.Struct):
    data: _Data | None = None


_decode = msgspec.json.Decoder(_Event).decode


async def final_of(socket: ClientConnection) -> tuple[str, str]:
    """The id and status of the next run that becomes final."""
    while True:
        event = _decode(await socket.recv())
        if event.data is not None and event.data.status in FINAL:
            return event.data.id, event.data.status
