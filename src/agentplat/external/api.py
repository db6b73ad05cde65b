"""The API for programs: an API key in `X-API-Key` instead of a token, and a permission per operation."""

from typing import Annotated, Any

from litestar import MediaType, Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter

from agentplat.accounts.models import Permission, User
from agentplat.blocks import service as blocks
from agentplat.external import service
from agentplat.external.models import (
    AgentsFound,
    BlockDescription,
    CredentialsCreated,
    CredentialsGone,
    ExecuteGraph,
    ExecutionResult,
    FindAgent,
    Me,
    NoResults,
    StartedExecution,
    ToolError,
)
from agentplat.infra.inbound import while_connected
from agentplat.infra.refusals import refusal
from agentplat.integrations import service as integrations
from agentplat.integrations.models import NAME, CredentialsSummary, ProgramCredentialsBody, ProviderInfo
from agentplat.runs import service as runs
from agentplat.runs.models import ExecuteBody

CurrentUser = NamedDependency[User]
GraphId = FromPath[str]
Provider = Annotated[str, PathParameter(pattern=NAME)]
NO_PROVIDER = refusal("There is no such provider.")
NO_CREDENTIALS = refusal("There are no such credentials.")
TAKEN = refusal("There are too many credentials.")
FAILED = refusal("The block does not take this input, or has failed.")
NOT_STARTABLE = refusal("The graph can't begin with these inputs.")
UNPAID = refusal("The balance does not cover it.")
PathVersion = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]


def needs(permission: Permission) -> dict[str, Any]:
    return {"permission": permission}


@get("/me", opt=needs(Permission.IDENTITY))
async def get_me(user: CurrentUser) -> Me:
    """Whose key this is."""
    return await service.me(user)


@get("/blocks", media_type=MediaType.JSON, opt={**needs(Permission.READ_BLOCK), "static": True})
async def list_external_blocks(user: CurrentUser) -> Response[list[BlockDescription]]:
    """Every block that can be used, with the schemas of its pins."""
    return Response(blocks.catalogue(), media_type=MediaType.JSON)  # type: ignore[arg-type]


@post(
    "/blocks/{block_id:str}/execute",
    status_code=200,
    opt=needs(Permission.EXECUTE_BLOCK),
    responses={400: FAILED, 402: UNPAID},
)
async def execute_external_block(
    block_id: FromPath[str], data: JSONBody[dict[str, Any]], user: CurrentUser, request: Request[Any, Any, Any]
) -> dict[str, list[Any]]:
    """Execute one block outside of any agent. Answers with all values of each output pin; given up if you leave."""
    return await while_connected(request, runs.execute_block(user.id, block_id, data))


@post(
    "/graphs/{graph_id:str}/execute/{graph_version:str}",
    status_code=200,
    opt=needs(Permission.EXECUTE_GRAPH),
    responses={400: NOT_STARTABLE, 402: UNPAID},
)
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


@post("/tools/find-agent", status_code=200, opt=needs(Permission.USE_TOOLS))
async def find_external_agent(data: JSONBody[FindAgent], user: CurrentUser) -> AgentsFound | NoResults | ToolError:
    """Search the agents of the key's owner by words of their names and descriptions."""
    return await service.find_agents(user, data.query)


@get("/integrations/providers", opt=needs(Permission.READ_INTEGRATIONS))
async def list_external_providers(user: CurrentUser) -> list[ProviderInfo]:
    """All providers, and what their credentials may be."""
    return integrations.all_providers()


@get("/integrations/credentials", opt=needs(Permission.READ_INTEGRATIONS))
async def list_external_credentials(user: CurrentUser) -> list[CredentialsSummary]:
    """Which credentials there are for this user's runs, without secrets."""
    return await integrations.list_(user.id)


@get("/integrations/{provider:str}/credentials", opt=needs(Permission.READ_INTEGRATIONS))
async def list_external_credentials_of_provider(provider: Provider, user: CurrentUser) -> list[CredentialsSummary]:
    """The same for one provider."""
    return await integrations.list_(user.id, provider)


@post(
    "/integrations/{provider:str}/credentials",
    opt=needs(Permission.MANAGE_INTEGRATIONS),
    responses={404: NO_PROVIDER, 409: TAKEN},
)
async def create_external_credentials(
    provider: Provider, data: JSONBody[ProgramCredentialsBody], user: CurrentUser
) -> CredentialsCreated:
    """Keep credentials. They are not shown again."""
    return await service.create_credentials(user, provider, data)


@delete(
    "/integrations/{provider:str}/credentials/{cred_id:str}",
    status_code=200,
    opt=needs(Permission.DELETE_INTEGRATIONS),
    responses={404: NO_CREDENTIALS},
)
async def delete_external_credentials(provider: Provider, cred_id: FromPath[str], user: CurrentUser) -> CredentialsGone:
    """Delete credentials of the key's owner."""
    return await service.delete_credentials(user, provider, cred_id)


router = Router(
    "/external-api/v1",
    route_handlers=[
        get_me,
        list_external_blocks,
        execute_external_block,
        execute_external_graph,
        get_external_results,
        find_external_agent,
        list_external_providers,
        list_external_credentials,
        list_external_credentials_of_provider,
        create_external_credentials,
        delete_external_credentials,
    ],
    tags=["external"],
)
