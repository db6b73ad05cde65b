"""The process's hub: opened with the process, used by its sockets and streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentplat.realtime import tickets
from agentplat.realtime.hub import Hub

# An option of routes: a ticket opens it.
TICKETS = "tickets"
# Where the route of the event socket leaves the connection that is to be served once routing is done.
SERVING = "serving"

redeem = tickets.redeem

_hub: Hub | None = None


@asynccontextmanager
async def following() -> AsyncIterator[None]:
    """Follow the event streams while the block runs. Redis and the database must be open."""
    global _hub
    async with Hub() as _hub:
        try:
            yield
        finally:
            _hub = None


def hub() -> Hub:
    if _hub is None:
        raise RuntimeError("No hub is following the event streams here")
    return _hub
