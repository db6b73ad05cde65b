"""The same answers from FastAPI, pydantic and SQLAlchemy over asyncpg, as their documentation has one write it.

What our server computes of a graph (schemas of its inputs and outputs, flags) this one is given: the comparison is
about what a request costs, not about how quickly a schema is put together.
"""

import json
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

GIVEN = "BENCH_GIVEN"


class Base(DeclarativeBase):
    pass


class GraphRow(Base):
    __tablename__ = "graph_versions"
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    instructions: Mapped[str | None]
    recommended_schedule_cron: Mapped[str | None]
    is_active: Mapped[bool]
    forked_from_id: Mapped[str | None]
    forked_from_version: Mapped[int | None]
    created_at: Mapped[datetime]
    body: Mapped[bytes]


class Link(BaseModel):
    id: str
    source_id: str
    sink_id: str
    source_name: str
    sink_name: str
    is_static: bool = False


class Node(BaseModel):
    id: str
    block_id: str
    input_default: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    input_links: list[Link] = Field(default_factory=list)
    output_links: list[Link] = Field(default_factory=list)
    graph_id: str
    graph_version: int
    webhook_id: str | None = None
    webhook: dict[str, Any] | None = None


class Graph(BaseModel):
    id: str
    version: int
    is_active: bool
    name: str
    description: str
    instructions: str | None
    recommended_schedule_cron: str | None
    forked_from_id: str | None
    forked_from_version: int | None
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    has_external_trigger: bool
    has_human_in_the_loop: bool
    has_sensitive_action: bool
    trigger_setup_info: dict[str, Any] | None
    user_id: str
    sub_graphs: list[dict[str, Any]]
    credentials_input_schema: dict[str, Any]
    nodes: list[Node]
    links: list[Link]
    created_at: datetime


class Block(BaseModel):
    id: str
    name: str
    inputSchema: dict[str, Any]  # noqa: N815
    outputSchema: dict[str, Any]  # noqa: N815
    description: str
    categories: list[dict[str, str]]
    contributors: list[dict[str, str]]
    staticOutput: bool  # noqa: N815
    uiType: str  # noqa: N815
    costs: list[dict[str, Any]]


def create() -> FastAPI:
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=50_000)
    app.add_middleware(CORSMiddleware, allow_origins=["http://localhost:3000"], allow_credentials=True)
    address = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
    sessions = async_sessionmaker(create_async_engine(address, pool_size=10), expire_on_commit=False)
    with open(os.environ[GIVEN], encoding="utf-8") as file:
        given = json.load(file)
    bearer = HTTPBearer()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    def user_id(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
        key = os.environ["JWT_VERIFY_KEY"]
        claims = jwt.decode(credentials.credentials, key, algorithms=["HS256"], audience="authenticated")
        return str(claims["sub"])

    @app.get("/api/graphs/{graph_id}")
    async def get_graph(
        graph_id: str,
        user: Annotated[str, Depends(user_id)],
        opened: Annotated[AsyncSession, Depends(session)],
        version: int | None = None,
    ) -> Graph:
        query = select(GraphRow).where(GraphRow.id == graph_id, GraphRow.user_id == user)
        if version is not None:
            query = query.where(GraphRow.version == version)
        row = (await opened.scalars(query.order_by(GraphRow.version.desc()).limit(1))).first()
        if row is None:
            raise HTTPException(404)
        return _graph(row, given["graph"])

    @app.get("/api/blocks")
    async def get_blocks(user: Annotated[str, Depends(user_id)]) -> list[Block]:
        return given["blocks"]  # type: ignore[no-any-return]

    return app


def _graph(row: GraphRow, computed: dict[str, Any]) -> Graph:
    body = json.loads(row.body)
    links = [Link(**link) for link in body["links"]]
    nodes = [
        Node(
            **node,
            graph_id=row.id,
            graph_version=row.version,
            input_links=[link for link in links if link.sink_id == node["id"]],
            output_links=[link for link in links if link.source_id == node["id"]],
        )
        for node in body["nodes"]
    ]
    columns = {name: getattr(row, name) for name in Graph.model_fields if hasattr(GraphRow, name)}
    return Graph(**columns, **computed, nodes=nodes, links=links)


COMPUTED = [name for name in Graph.model_fields if not hasattr(GraphRow, name) and name not in ("nodes", "links")]
