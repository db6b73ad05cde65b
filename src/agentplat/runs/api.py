"""Executions of graphs, as the AutoGPT Platform contract has them."""

from typing import Annotated, Any

from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, PathParameter, QueryParameter

from agentplat.accounts.models import User
from agentplat.graphs.models import DeleteGraphResponse
from agentplat.infra.inbound import while_connected
from agentplat.infra.ndjson import LINES, NDJSON, encode_lines, lines_as, wants_lines
from agentplat.infra.refusals import refusal
from agentplat.runs import bulk, removal, reviewing, service, sharing
from agentplat.runs.models import (
    PRESET_ID,
    BulkIds,
    BulkRead,
    BulkResult,
    BulkResults,
    BulkStarts,
    ExecuteBody,
    Run,
    RunMeta,
    RunPage,
    RunWithNodes,
    SharedRun,
    ShareRequest,
    ShareResponse,
    StartedRun,
)
from agentplat.runs.reviewing import Review, ReviewRequest, ReviewResponse
from agentplat.runs.rules import wait_seconds

CurrentUser = NamedDependency[User]
GraphId = FromPath[str]
RunId = FromPath[str]
PathVersion = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]
Page = Annotated[int, QueryParameter(ge=1, le=2**31 - 1)]
ShareToken = Annotated[str, PathParameter(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
PresetId = Annotated[str | None, QueryParameter(pattern=PRESET_ID)]
PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
ListSize = Annotated[int, QueryParameter(ge=1, le=service.MAX_LISTED)]
Before = Annotated[
    str | None, QueryParameter(description="The id of a run: the list goes on with those that are older than it.")
]
AnyRequest = Request[Any, Any, Any]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern=r"^[ -~]{1,255}$",
        description="Any text of 1 to 255 printable ASCII characters, new for each run that is wanted. The same request"
        " under the same key starts nothing within 24 hours, and gets the first answer again.",
    ),
]
Prefer = Annotated[
    str | None,
    HeaderParameter(
        name="Prefer",
        description="`wait=N`: answer when the run is final, but after N seconds (at most 60) in any case. (RFC 7240)",
    ),
]
WAITED = ResponseHeader(
    name="Preference-Applied",
    documentation_only=True,
    description="`wait=N`, where `Prefer` asked for that: the longest that the answer may have taken.",
)
REPLAYED = ResponseHeader(
    name="Idempotency-Replayed",
    documentation_only=True,
    description="`true` where the run had been started by an earlier request under the same key.",
)
NOT_STARTABLE = refusal("The graph can't begin with these inputs.")
FAILED = refusal("The block does not take this input, or has failed.")
UNPAID = refusal("The balance does not cover it.")
REUSED = refusal("`Idempotency-Key` was used for another request.")
FULL = refusal("Too many requests, or too many of your runs wait for their turn; `Retry-After` says when to try again.")
REVIEWED = refusal("This contradicts what was decided before.")


@post(
    "/graphs/{graph_id:str}/execute/{graph_version:str}",
    status_code=200,
    response_headers=[WAITED, REPLAYED],
    responses={400: NOT_STARTABLE, 402: UNPAID, 409: REUSED, 429: FULL},
)
async def execute_graph(
    graph_id: GraphId,
    graph_version: PathVersion,
    user: CurrentUser,
    request: AnyRequest,
    data: JSONBody[ExecuteBody | None] = None,
    preset_id: PresetId = None,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response[StartedRun]:
    """Start a run. It is durable once this has answered; with `outputs` if it was waited for and is final."""
    wait = wait_seconds(prefer)
    order = data or ExecuteBody()
    accepted = await service.accept(user.id, graph_id, graph_version, order, preset_id, idempotency_key)
    run = await while_connected(request, service.outcome(accepted.run, wait)) if wait else accepted.run
    return Response(run, headers=_applied(wait, accepted.replayed))


@post("/{block_id:str}/execute", status_code=200, responses={400: FAILED, 402: UNPAID})
async def execute_block(
    block_id: FromPath[str], data: JSONBody[dict[str, Any]], user: CurrentUser, request: AnyRequest
) -> dict[str, list[Any]]:
    """Execute one block outside of any agent. Answers with all values of each output pin; given up if you leave."""
    return await while_connected(request, service.execute_block(user.id, block_id, data))


@delete("/{graph_id:str}", status_code=200)
async def delete_graph(graph_id: GraphId, user: CurrentUser) -> DeleteGraphResponse:
    """Delete all versions of a graph with their runs. What those have started is stopped."""
    return await removal.delete_graph(user, graph_id)


@get("/executions", opt={"etag": True})
async def list_executions(
    user: CurrentUser, page_size: ListSize = service.MAX_LISTED, before: Before = None
) -> list[RunMeta]:
    """Your newest runs. For older ones ask again with the id of the last one as `before`."""
    return await service.list_(user.id, page_size, before)


@get("/graphs/{graph_id:str}/executions", opt={"etag": True})
async def list_graph_executions(
    graph_id: GraphId, user: CurrentUser, page: Page = 1, page_size: PageSize = 25
) -> RunPage:
    """The runs of one graph, newest first."""
    return await service.page(user.id, graph_id, page, page_size)


@get("/graphs/{graph_id:str}/executions/{graph_exec_id:str}", response_headers=[WAITED], opt={"etag": True})
async def get_execution(
    graph_id: GraphId, graph_exec_id: RunId, user: CurrentUser, request: AnyRequest, prefer: Prefer = None
) -> Response[Run | RunWithNodes]:
    """One run with its outputs and node executions, as far as it has come."""
    wait = wait_seconds(prefer)
    asked = service.get(user.id, graph_id, graph_exec_id, wait or 0)
    return Response(await while_connected(request, asked) if wait else await asked, headers=_applied(wait))


@post("/graphs/{graph_id:str}/executions/{graph_exec_id:str}/stop", status_code=200)
async def stop_execution(graph_id: GraphId, graph_exec_id: RunId, user: CurrentUser) -> RunMeta | None:
    """Stop a run; answers with its state after that, or null where nothing was going on."""
    return await service.stop(user.id, graph_id, graph_exec_id)


@delete("/executions/{graph_exec_id:str}", status_code=204)
async def delete_execution(graph_exec_id: RunId, user: CurrentUser) -> None:
    """Hide a run from all lists. One that is going on goes on."""
    await service.delete(user.id, graph_exec_id)


@post("/executions/bulk/start", status_code=200, before_request=lines_as("runs"), opt={LINES: "runs"})
async def start_executions(data: JSONBody[BulkStarts], user: CurrentUser, request: AnyRequest) -> Response[BulkResults]:
    """Start many runs. All that can be started are committed together when this answers; each item has its own result,
    in the order of the request."""
    return _results(request, await bulk.start(user.id, data.runs))


@post("/executions/bulk/read", status_code=200, before_request=lines_as("ids"), opt={LINES: "ids"})
async def read_executions(data: JSONBody[BulkRead], user: CurrentUser, request: AnyRequest) -> Response[BulkResults]:
    """Many runs, as lists show them; final ones with their outputs, if asked for."""
    return _results(request, await bulk.read(user.id, data.ids, outputs=data.outputs))


@post("/executions/bulk/stop", status_code=200, before_request=lines_as("ids"), opt={LINES: "ids"})
async def stop_executions(data: JSONBody[BulkIds], user: CurrentUser, request: AnyRequest) -> Response[BulkResults]:
    """Stop many runs; answers with their states after that. Runs that are over stay as they are."""
    return _results(request, await bulk.stop(user.id, data.ids))


@post("/graphs/{graph_id:str}/executions/{graph_exec_id:str}/share", status_code=200)
async def share_execution(
    graph_id: GraphId, graph_exec_id: RunId, user: CurrentUser, data: JSONBody[ShareRequest | None] = None
) -> ShareResponse:
    """Show a run's outputs to everybody who has the link. Each call makes a new one; the one before stops working."""
    return await sharing.share(user.id, graph_id, graph_exec_id)


@delete("/graphs/{graph_id:str}/executions/{graph_exec_id:str}/share", status_code=204)
async def unshare_execution(graph_id: GraphId, graph_exec_id: RunId, user: CurrentUser) -> None:
    """Stop showing a run, from now on."""
    await sharing.unshare(user.id, graph_id, graph_exec_id)


@get(
    "/public/shared/{share_token:str}",
    opt={"public": True},
    responses={404: refusal("Nothing is shared by this link.")},
)
async def get_shared_execution(share_token: ShareToken) -> SharedRun:
    """What a run that is shared has come to. For everybody who has the token."""
    return await sharing.shared(share_token)


@get("/review/pending")
async def list_reviews(user: CurrentUser, page: Page = 1, page_size: PageSize = 25) -> list[Review]:
    """What waits for your review, newest first."""
    return await reviewing.pending(user.id, page, page_size)


@get("/review/execution/{graph_exec_id:str}")
async def list_reviews_of_execution(graph_exec_id: RunId, user: CurrentUser) -> list[Review]:
    """What waits for your review in one run, oldest first."""
    return await reviewing.pending_of_run(user.id, graph_exec_id)


@post("/review/action", status_code=200, responses={400: REVIEWED, 409: REVIEWED})
async def decide_reviews(data: JSONBody[ReviewRequest], user: CurrentUser) -> ReviewResponse:
    """Approve or reject what waits in one run; the run goes on once nothing of it waits any more."""
    return await reviewing.answer(user.id, data.reviews)


def _results(request: AnyRequest, results: list[BulkResult]) -> Response[BulkResults]:
    """As NDJSON for who asks for it: one result per line."""
    if wants_lines(request):
        return Response(encode_lines(results), media_type=NDJSON)  # type: ignore[arg-type]
    return Response(BulkResults(results=results))


def _applied(wait: int | None, replayed: bool = False) -> dict[str, str]:
    """What of the request's wishes took effect."""
    headers = {} if wait is None else {WAITED.name: f"wait={wait}"}
    return headers | {REPLAYED.name: "true"} if replayed else headers


router = Router(
    "/api",
    route_handlers=[
        execute_graph,
        list_executions,
        list_graph_executions,
        get_execution,
        stop_execution,
        delete_execution,
        start_executions,
        read_executions,
        stop_executions,
        share_execution,
        unshare_execution,
        get_shared_execution,
        list_reviews,
        list_reviews_of_execution,
        decide_reviews,
    ],
    tags=["executions"],
)
