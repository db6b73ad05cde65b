"""What the server answers about itself."""

from litestar import Request, Response, get

from agentplat.server.auth import PUBLIC
from agentplat.server.lifespan import check_database
from agentplat.server.openapi import document
from agentplat.server.representation import STATIC


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


@get("/openapi.json", opt={PUBLIC: True, STATIC: True}, include_in_schema=False, sync_to_thread=False)
def openapi(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
    return Response(document(request.app), media_type="application/json")
