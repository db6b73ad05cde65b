"""What a server process has open while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar

from agentplat.accounts import service as accounts
from agentplat.blocks import service as blocks
from agentplat.credits import gateway as payment_gateway
from agentplat.files import service as files
from agentplat.infra.db import close_database, db, open_database
from agentplat.infra.errors import Unavailable
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import get_settings
from agentplat.realtime import service as realtime
from agentplat.runs import service as runs

HEALTH_SECONDS = 2.0
# Where the application's state has what counts requests.
LIMITS = "limits"


@asynccontextmanager
async def services(app: Litestar) -> AsyncIterator[None]:
    files.check_storage()
    async with socket_services(app), runs.hearing_ends():
        try:
            yield
        finally:
            await payment_gateway.close()


@asynccontextmanager
async def socket_services(app: Litestar) -> AsyncIterator[None]:
    """What event sockets need. Blocks are among it, because runs are folded by graphs of them."""
    settings = get_settings()
    accounts.verifier(settings)
    blocks.catalogue()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(blocks.close)
        await open_database(settings)
        stack.push_async_callback(close_database)
        stack.push_async_callback(accounts.forget_uses)
        app.state[LIMITS].client = await open_redis(settings)
        stack.push_async_callback(close_redis)
        await stack.enter_async_context(realtime.following())
        yield


async def check_database() -> None:
    """Raises Unavailable when Postgres does not answer in time, whatever the reason."""
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            await db().fetchval("SELECT 1")
    except Exception as error:
        # Every driver's error means the same to whoever asked; which one it was goes along as the cause.
        raise Unavailable("The database does not answer") from error
