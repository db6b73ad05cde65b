"""The catalogue, as the AutoGPT Platform contract has it."""

from typing import Any

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler

from agentplat.accounts.models import User
from agentplat.blocks import service


@get("/", media_type=MediaType.JSON, opt={"static": True})
async def list_blocks(user: NamedDependency[User]) -> Response[list[dict[str, Any]]]:
    """Every block that can be used, with the schemas of its pins."""
    return Response(service.catalogue(), media_type=MediaType.JSON)  # type: ignore[arg-type]


# Without executing a block by hand, which may cost something: it is in `runs.api`.
handlers: list[ControllerRouterHandler] = [list_blocks]
