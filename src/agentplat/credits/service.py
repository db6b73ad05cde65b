from agentplat.credits import queries
from agentplat.infra.settings import get_settings

# What everybody seems to own while credits are switched off: enough for every check of "is anything left".
DISABLED_BALANCE = 100


async def balance(user_id: str) -> int:
    if not get_settings().enable_credit:
        return DISABLED_BALANCE
    return await queries.balance(user_id)
