"""The API for programs: an API key in `X-API-Key` instead of a token, and a permission per operation."""

from typing import Annotated, Any

from litestar import MediaType, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter

from agentplat.accounts.models import Permission, User
from agentplat.blocks import service as blocks
from agentplat.external import service
from agentplat.external.models import BlockDescription, ExecuteGraph, ExecutionResult, Me, StartedExecution
from agentplat.runs import service as runs
from agentplat.runs.models import ExecuteBody

CurrentUser = NamedDependency[User]
GraphId = FromPath[str]
PathVersion = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]


def needs(permission: Permission) -> dict[str, Any]:
    return {"permission": permission}


@get("/me", opt=needs(Permission.IDENTITY))
async def get_me(user: CurrentUser) -> Me:
    """Whose key this is."""
    return await service.me(user)


@get("/blocks", media_type=MediaType.JSON, opt=needs(Permission.READ_BLOCK))
async def list_external_blocks(user: CurrentUser) -> Response[list[BlockDescription]]:
    """Every block that can be used, with the schemas of its pins."""
    return Response(blocks.catalogue(), media_type=MediaType.JSON)  # type: ignore[arg-type]


@post("/blocks/{block_id:str}/execute", status_code=200, opt=needs(Permission.EXECUTE_BLOCK))
async def execute_external_block(
    block_id: FromPath[str], data: JSONBody[dict[str, Any]], user: CurrentUser
) -> dict[str, list[Any]]:
    """Execute one block outside of any agent. Answers with all values of each output pin."""
    return await blocks.execute(user.id, block_id, data)


@post("/graphs/{graph_id:str}/execute/{graph_version:str}", status_code=200, opt=needs(Permission.EXECUTE_GRAPH))
async def execute_external_graph(
    graph_id: GraphId, graph_version: PathVersion, user: CurrentUser, data: JSONBody[ExecuteGraph | None] = None
) -> StartedExecution:
    """Start a run. It is durable once this has answered."""
    inputs = data.node_input if data else {}
    run = await runs.start(user.id, graph_id, graph_version, ExecuteBody(inputs=inputs))
    return StartedExecution(id=run.id)


@get("/graphs/{graph_id:str}/executions/{graph_exec_id:str}/results", opt=needs(Permission.READ_GRAPH))
async def get_external_results(graph_id: GraphId, graph_exec_id: FromPath[str], user: CurrentUser) -> ExecutionResult:
    """What a run has come to."""
    return await service.result(user, graph_id, graph_exec_id)


router = Router(
    "/external-api/v1",
    route_handlers=[
        get_me,
        list_external_blocks,
        execute_external_block,
        execute_external_graph,
        get_external_results,
    ],
    tags=["external"],
)
