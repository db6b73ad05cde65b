"""Executions of graphs, as the AutoGPT Platform contract has them."""

from typing import Annotated

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter

from agentplat.accounts.models import User
from agentplat.runs import service
from agentplat.runs.models import ExecuteBody, Run, RunMeta, RunPage, RunWithNodes

CurrentUser = NamedDependency[User]
GraphId = FromPath[str]
RunId = FromPath[str]
PathVersion = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]
Page = Annotated[int, QueryParameter(ge=1, le=2**31 - 1)]
PageSize = Annotated[int, QueryParameter(ge=1, le=100)]


@post("/graphs/{graph_id:str}/execute/{graph_version:str}", status_code=200)
async def execute_graph(
    graph_id: GraphId,
    graph_version: PathVersion,
    user: CurrentUser,
    data: JSONBody[ExecuteBody | None] = None,
    preset_id: FromQuery[str | None] = None,
) -> RunMeta:
    """Start a run. It is durable once this has answered."""
    return await service.start(user.id, graph_id, graph_version, data or ExecuteBody(), preset_id)


@get("/executions")
async def list_executions(user: CurrentUser) -> list[RunMeta]:
    """Your newest runs."""
    return await service.list_(user.id)


@get("/graphs/{graph_id:str}/executions")
async def list_graph_executions(
    graph_id: GraphId, user: CurrentUser, page: Page = 1, page_size: PageSize = 25
) -> RunPage:
    """The runs of one graph, newest first."""
    return await service.page(user.id, graph_id, page, page_size)


@get("/graphs/{graph_id:str}/executions/{graph_exec_id:str}")
async def get_execution(graph_id: GraphId, graph_exec_id: RunId, user: CurrentUser) -> Run | RunWithNodes:
    """One run with its outputs and node executions, as far as it has come."""
    return await service.get(user.id, graph_id, graph_exec_id)


@post("/graphs/{graph_id:str}/executions/{graph_exec_id:str}/stop", status_code=200)
async def stop_execution(graph_id: GraphId, graph_exec_id: RunId, user: CurrentUser) -> RunMeta | None:
    """Stop a run; answers with its state after that, or null where nothing was going on."""
    return await service.stop(user.id, graph_id, graph_exec_id)


@delete("/executions/{graph_exec_id:str}", status_code=204)
async def delete_execution(graph_exec_id: RunId, user: CurrentUser) -> None:
    """Hide a run from all lists. One that is going on goes on."""
    await service.delete(user.id, graph_exec_id)


router = Router(
    "/api",
    route_handlers=[
        execute_graph,
        list_executions,
        list_graph_executions,
        get_execution,
        stop_execution,
        delete_execution,
    ],
    tags=["executions"],
)
