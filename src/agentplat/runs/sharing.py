"""Runs that their owner shows to everybody who has the link.

The token in it is a random UUID, as the contract has it: 122 bits that nobody guesses. Nothing of this is cached, so a
run that is not shared any more is gone with the commit that says so.
"""

from uuid import uuid4

from agentplat.engine.state import FINAL
from agentplat.graphs import service as graphs
from agentplat.infra.ids import is_id
from agentplat.infra.settings import get_settings
from agentplat.runs import queries
from agentplat.runs.errors import RunNotFound, ShareNotFound
from agentplat.runs.models import SharedRun, ShareResponse, as_stored
from agentplat.runs.replay import replay

UNTITLED = "Untitled Agent"


async def share(user_id: str, graph_id: str, run_id: str) -> ShareResponse:
    """Show a run to who has the link. Each time it is a new one, and the old one stops working."""
    token = str(uuid4())
    await _set(user_id, graph_id, run_id, token)
    base = get_settings().frontend_base_url.rstrip("/")
    return ShareResponse(share_url=f"{base}/share/{token}", share_token=token)


async def unshare(user_id: str, graph_id: str, run_id: str) -> None:
    await _set(user_id, graph_id, run_id, None)


async def _set(user_id: str, graph_id: str, run_id: str, token: str | None) -> None:
    if not is_id(run_id) or not is_id(graph_id) or not await queries.share(user_id, graph_id, run_id, token):
        raise RunNotFound(run_id)


async def shared(token: str) -> SharedRun:
    """What everybody may see: no inputs, no credentials, no nodes, no user."""
    row = await queries.find_shared(token)
    if row is None:
        raise ShareNotFound
    graph = await graphs.load(row.graph_id, row.graph_version)
    outputs = as_stored(row.outputs or b"{}") if row.status in FINAL else (await replay(row))[0].outputs
    return SharedRun(
        id=row.id,
        graph_name=graph.name or UNTITLED,
        graph_description=graph.description,
        status=row.status,
        created_at=row.created_at,
        outputs=outputs,
    )
