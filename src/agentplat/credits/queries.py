from agentplat.infra.db import db


async def balance(user_id: str) -> int:
    found = await db().fetchval("SELECT balance FROM balances WHERE user_id = $1", user_id)
    return int(found or 0)
