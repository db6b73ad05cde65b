"""The platform as the commands see it: the client that anybody may use, and what only `run` and `watch` ask for."""

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct

from agentplat.client import AsyncClient

# What is asked first: somebody who mistyped the address wants to hear of it at once.
AT_ONCE = 0.0


class Node(Struct, frozen=True):
    id: str
    block_id: str
    input_default: dict[str, Any]
    metadata: dict[str, Any]


class GraphWarning(Struct, frozen=True):
    node_id: str
    field: str
    message: str


class InputSchema(Struct, frozen=True):
    properties: dict[str, dict[str, Any]] = {}
    required: list[str] = []


class Graph(Struct, frozen=True):
    id: str
    version: int
    name: str
    nodes: list[Node]
    input_schema: InputSchema
    credentials_input_schema: InputSchema
    warnings: list[GraphWarning] = []


class Block(Struct, frozen=True):
    id: str
    name: str


class PlatformClient(AsyncClient):
    async def block_names(self) -> dict[str, str]:
        return {block.id: block.name for block in await self.ask("GET", "/api/blocks", list[Block], patience=AT_ONCE)}

    async def import_graph(self, document: Mapping[str, Any]) -> Graph:
        body = {"graph": document, "source": "upload"}
        return await self.ask("POST", "/api/graphs", Graph, body, patience=AT_ONCE)

    async def graph(self, graph_id: str, version: int) -> Graph:
        return await self.ask("GET", f"/api/graphs/{graph_id}?version={version}", Graph)

    async def delete_graph(self, graph: Graph) -> None:
        await self.ask("DELETE", f"/api/graphs/{graph.id}", Raw)
