"""Seeing who waits for whom in the database, to make overlaps certain instead of likely."""

from agentplat.infra.db import Database


async def waiting(db: Database) -> int:
    """How many statements wait for a lock right now."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count
