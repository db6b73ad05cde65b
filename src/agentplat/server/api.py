"""What the server answers about itself."""

from litestar import MediaType, Request, Response, get

from agentplat.server.auth import PUBLIC
from agentplat.server.docs import POLICY
from agentplat.server.lifespan import check_database
from agentplat.server.openapi import document, external_document, external_page, page
from agentplat.server.representation import STATIC

SHOWN = {PUBLIC: True, STATIC: True}
AS_PAGE = {"Content-Security-Policy": POLICY}


@get("/health", opt={PUBLIC: True}, tags=["health"])
async def health() -> dict[str, str]:
    """Whether this server can do its work. 503 when the database does not answer."""
    await check_database()
    return {"status": "healthy"}


@get("/", opt={PUBLIC: True}, include_in_schema=False)
async def alive() -> dict[str, str]:
    """The same, where the contract has it for the process of the event sockets."""
    await check_database()
    return {"status": "healthy"}


@get("/openapi.json", opt=SHOWN, include_in_schema=False, sync_to_thread=False)
def openapi(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
    return Response(document(request.app), media_type="application/json")


@get("/redoc", opt=SHOWN, include_in_schema=False, sync_to_thread=False)
def redoc(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
    """The page at /docs, where the contract has one more."""
    return Response(page(request.app), media_type=MediaType.HTML, headers=AS_PAGE)


@get("/external-api/openapi.json", opt=SHOWN, include_in_schema=False, sync_to_thread=False)
def external_openapi(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
    return Response(external_document(request.app), media_type="application/json")


@get(
    ["/external-api/docs", "/external-api/redoc"],
    opt=SHOWN,
    include_in_schema=False,
    sync_to_thread=False,
)
def external_docs(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
    return Response(external_page(request.app), media_type=MediaType.HTML, headers=AS_PAGE)
