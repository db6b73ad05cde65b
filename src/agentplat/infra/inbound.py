"""What a handler that takes long has to know about the connection that it answers on."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from litestar import Request

from agentplat.infra.errors import AppError

T = TypeVar("T")


class ClientLeft(AppError):
    """The client has closed the connection."""

    # Nobody reads it; the number is what proxies write into their logs for this.
    status = 499
    code = "client_left"


async def while_connected(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is given up when the client leaves. The body must have been read."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnect(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """A body as it comes in, for a handler that has limits of its own for it."""
    more = True
    while more:
        event: Any = await request.receive()
        if event["type"] == "http.disconnect":
            raise ClientLeft
        if event["body"]:
            yield event["body"]
        more = event.get("more_body", False)
