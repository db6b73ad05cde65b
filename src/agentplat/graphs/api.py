"""Routes under /api/graphs, as the AutoGPT Platform contract has them."""

from typing import Annotated

from litestar import get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter
from litestar.types import ControllerRouterHandler

from agentplat.accounts.models import User
from agentplat.graphs import service
from agentplat.graphs.models import (
    MAX_VERSION,
    CreateGraph,
    Graph,
    GraphMeta,
    GraphModel,
    GraphSettings,
    GraphSettingsPatch,
    SetGraphActiveVersion,
)
from agentplat.infra.refusals import refusal

GraphId = FromPath[str]
PathVersion = Annotated[int, PathParameter(ge=1, le=MAX_VERSION)]
QueryVersion = Annotated[int | None, QueryParameter(ge=1, le=MAX_VERSION)]
CurrentUser = NamedDependency[User]
INVALID = refusal("The nodes and links make no graph; `detail` says what is wrong.")


@get("/", opt={"etag": True})
async def list_graphs(user: CurrentUser) -> list[GraphMeta]:
    """The active versions of your graphs, without nodes and links."""
    return await service.list_(user)


@post("/", status_code=200, responses={400: INVALID})
async def create_graph(data: JSONBody[CreateGraph], user: CurrentUser) -> GraphModel:
    """Create or import a graph. All ids are replaced; answers with the graph as stored."""
    return await service.create(user, data)


@get("/{graph_id:str}", opt={"etag": True})
async def get_graph(
    graph_id: GraphId, user: CurrentUser, version: QueryVersion = None, for_export: FromQuery[bool] = False
) -> GraphModel:
    """One version of a graph, by default the highest. `for_export` leaves out secrets and owners."""
    return await service.get(user, graph_id, version, for_export=for_export)


@put("/{graph_id:str}", responses={400: INVALID})
async def update_graph(graph_id: GraphId, data: JSONBody[Graph], user: CurrentUser) -> GraphModel:
    """Store the next version of a graph; answers with it."""
    return await service.update(user, graph_id, data)


@get("/{graph_id:str}/versions")
async def list_versions(graph_id: GraphId, user: CurrentUser) -> list[GraphModel]:
    """The newest versions of a graph."""
    return await service.versions(user, graph_id)


@get("/{graph_id:str}/versions/{version:str}", opt={"etag": True})
async def get_version(
    graph_id: GraphId, version: PathVersion, user: CurrentUser, for_export: FromQuery[bool] = False
) -> GraphModel:
    """One version of a graph."""
    return await service.get(user, graph_id, version, for_export=for_export)


@put("/{graph_id:str}/versions/active")
async def set_active_version(graph_id: GraphId, data: JSONBody[SetGraphActiveVersion], user: CurrentUser) -> None:
    """Make one version the active one."""
    await service.set_active(user, graph_id, data.active_graph_version)


@patch("/{graph_id:str}/settings")
async def change_settings(graph_id: GraphId, data: JSONBody[GraphSettingsPatch], user: CurrentUser) -> GraphSettings:
    """Change how runs of a graph in your library behave; members that are left out stay."""
    return await service.change_settings(user, graph_id, data)


# Without deleting a graph, which ends runs: it is in `runs.api`.
handlers: list[ControllerRouterHandler] = [
    list_graphs,
    create_graph,
    get_graph,
    update_graph,
    list_versions,
    get_version,
    set_active_version,
    change_settings,
]
