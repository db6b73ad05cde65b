"""The catalogue, and trying a block by hand, as the AutoGPT Platform contract has them."""

from typing import Any

from litestar import MediaType, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from agentplat.accounts.models import User
from agentplat.blocks import service
from agentplat.infra.refusals import refusal

FAILED = refusal("The block does not take this input, or has failed.")


@get("/blocks", media_type=MediaType.JSON, opt={"static": True})
async def list_blocks(user: NamedDependency[User]) -> Response[list[dict[str, Any]]]:
    """Every block that can be used, with the schemas of its pins."""
    return Response(service.catalogue(), media_type=MediaType.JSON)  # type: ignore[arg-type]


@post("/blocks/{block_id:str}/execute", status_code=200, responses={400: FAILED})
async def execute_block(
    block_id: FromPath[str], data: JSONBody[dict[str, Any]], user: NamedDependency[User]
) -> dict[str, list[Any]]:
    """Execute one block outside of any agent. Answers with all values of each output pin."""
    return await service.execute(user.id, block_id, data)


router = Router("/api", route_handlers=[list_blocks, execute_block], tags=["blocks"])
