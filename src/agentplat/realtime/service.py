"""The process's hub: opened with the process, used by its sockets and streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentplat.realtime import stream, tickets
from agentplat.realtime.hub import Hub

# An option of routes: a ticket opens it.
TICKETS = "tickets"
# Where the route of the event socket leaves the connection that is to be served once routing is done.
SERVING = "serving"

redeem = tickets.redeem

_hub: Hub | None = None
_loop: asyncio.AbstractEventLoop | None = None


@asynccontextmanager
async def following() -> AsyncIterator[None]:
    """Follow the event streams while the block runs. Redis and the database must be open."""
    global _hub, _loop
    _loop = asyncio.get_running_loop()
    async with Hub() as _hub:
        try:
            yield
        finally:
            _hub = None


def hub() -> Hub:
    if _hub is None:
        raise RuntimeError("No hub is following the event streams here")
    return _hub


def end_streams() -> None:
    """Have all event streams end: a server that is to stop waits for what is being answered, and they have no end of
    their own. May be called by a signal handler."""
    if _loop is not None and not _loop.is_closed():
        _loop.call_soon_threadsafe(stream.end_all)
