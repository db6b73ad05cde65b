"""Blocks that users execute by hand, outside of any agent. Nothing is on record of that but what it cost."""

from functools import partial
from typing import Any

from agentplat.blocks import service as blocks
from agentplat.credits import service as credits
from agentplat.infra.ids import new_id
from agentplat.integrations import service as integrations
from agentplat.sdk import BlockSpec
from agentplat.sdk.secrets import Credentials


async def execute(user_id: str, block_id: str, data: dict[str, Any]) -> dict[str, list[Any]]:
    """Execute one block, for the price that a node with this input has. It is paid even if the block fails then."""
    return await blocks.execute(user_id, block_id, data, partial(_begin, user_id, data))


async def _begin(user_id: str, data: dict[str, Any], spec: BlockSpec) -> dict[str, Credentials]:
    try:
        found = await integrations.acquire_for(user_id, spec, data)
    except integrations.CredentialsUnavailable as error:
        raise blocks.BlockFailure(blocks.failure_text(spec.name, spec.id, str(error)), expected=True) from error
    cost = credits.cost_of(spec.costs, data)
    await credits.spend(user_id, credits.block_charge(cost, new_id(), spec.id, spec.name))
    return found
