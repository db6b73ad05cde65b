"""A Redis that takes connections and never answers, as one that was stopped does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agentplat.infra import redis as redis_module
from agentplat.infra.redis import connect


@asynccontextmanager
async def deaf_redis(folder: Path) -> AsyncIterator[None]:
    """This process has no other meanwhile."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(listen, folder / "redis.sock")
    deaf = connect(f"unix://{folder}/redis.sock")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(redis_module, "_client", deaf)
            yield
    finally:
        await deaf.aclose()
        server.close()
        await server.wait_closed()
