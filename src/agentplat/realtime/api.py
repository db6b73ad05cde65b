"""The event socket, as the AutoGPT Platform contract has it."""

from typing import Any

from litestar import Router, WebSocket, websocket

from agentplat.accounts import service as accounts
from agentplat.accounts.errors import SubjectMissing
from agentplat.infra.errors import Unauthenticated
from agentplat.infra.settings import get_settings
from agentplat.realtime import service
from agentplat.realtime.connection import Connection

MISSING_TOKEN = 4001
NO_SUBJECT = 4002
INVALID_TOKEN = 4003


@websocket("/ws")
async def events(socket: WebSocket[Any, Any, Any]) -> None:
    """Accepts first and closes then where the token is no good: only so a client sees the code."""
    await socket.accept()
    token = socket.query_params.get("token", "")
    if not token and get_settings().enable_auth:
        await socket.close(MISSING_TOKEN, "token missing")
        return
    try:
        user = accounts.authenticate(token)
    except SubjectMissing:
        await socket.close(NO_SUBJECT, "token without subject")
        return
    except Unauthenticated:
        await socket.close(INVALID_TOKEN, "token invalid")
        return
    hub = service.hub()
    await hub.ready()
    await Connection(socket, hub, user.id).serve()


router = Router("/", route_handlers=[events])
