"""The event socket, as the AutoGPT Platform contract has it, and the same events over plain HTTP."""

from typing import Annotated, Any

from litestar import Router, WebSocket, get, post, websocket
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter
from litestar.response.base import ASGIResponse

from agentplat.accounts import service as accounts
from agentplat.accounts.errors import SubjectMissing
from agentplat.accounts.models import User
from agentplat.infra.errors import Unauthenticated, Unavailable
from agentplat.infra.refusals import refusal
from agentplat.infra.settings import get_settings
from agentplat.realtime import service, streaming, tickets
from agentplat.realtime.connection import TOO_SLOW, Connection
from agentplat.realtime.models import EventKind, Ticket
from agentplat.realtime.service import SERVING, TICKETS

MISSING_TOKEN = 4001
NO_SUBJECT = 4002
INVALID_TOKEN = 4003

# What browsers can send of their own besides the address. The second one carries the token.
PROTOCOL = "agentplat"
BEARER = "bearer."

CurrentUser = NamedDependency[User]
STREAM = {TICKETS: True, "content_type": "text/event-stream"}
NO_POSITION = refusal("The position is none of this stream.")
GONE = refusal("What followed can't be had any more; look at the state itself.")
LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="The `id` of the last event that the client has."),
]


@websocket("/ws")
async def events(socket: WebSocket[Any, Any, Any]) -> None:
    """Accepts first and closes then where the token is no good: only so a client sees the code."""
    offered = socket.headers.get("sec-websocket-protocol", "").replace(" ", "").split(",")
    await socket.accept(subprotocols=PROTOCOL if PROTOCOL in offered else None)
    try:
        user = await _user(socket, offered)
    except SubjectMissing:
        await socket.close(NO_SUBJECT, "token without subject")
    except Unauthenticated:
        await socket.close(INVALID_TOKEN, "token invalid")
    except Unavailable:
        await socket.close(TOO_SLOW, "try again later")
    else:
        if user is None:
            await socket.close(MISSING_TOKEN, "token missing")
            return
        hub = service.hub()
        await hub.ready()
        socket.scope["state"][SERVING] = Connection(hub, user.id)


async def _user(socket: WebSocket[Any, Any, Any], offered: list[str]) -> User | None:
    if ticket := socket.query_params.get("ticket"):
        return await tickets.redeem(ticket)
    token = socket.query_params.get("token", "")
    if not token:
        token = next((name.removeprefix(BEARER) for name in offered if name.startswith(BEARER)), "")
    if not token and get_settings().enable_auth:
        return None
    return accounts.authenticate(token)


@post("/ws/ticket", status_code=200)
async def issue_ticket(user: CurrentUser) -> Ticket:
    """What to put into the address of a socket or an event stream in place of a token, once."""
    return Ticket(ticket=await tickets.issue(user), expires_in=tickets.EXPIRES_SECONDS)


@get(
    "/executions/{graph_exec_id:str}/events",
    opt=STREAM,
    responses={204: refusal("There is nothing after the client's last event."), 400: NO_POSITION, 410: GONE},
)
async def run_events(
    graph_exec_id: FromPath[str],
    user: CurrentUser,
    last_event_id: LastEventId = None,
    last_event: FromQuery[str | None] = None,
    snapshot: FromQuery[bool] = False,
    events: FromQuery[list[EventKind] | None] = None,
    nodes: FromQuery[list[str] | None] = None,
) -> ASGIResponse:
    """The events of one run, as server-sent events: all of them, or those behind the last one that the client has.

    The stream ends with the run. Who asks again after its last event is answered with 204, which keeps browsers from
    asking once more.
    """
    wanted = streaming.Wanted(position=last_event_id or last_event, snapshot=snapshot, events=events, nodes=nodes)
    return await streaming.of_run(service.hub(), user, graph_exec_id, wanted)


@get("/graphs/{graph_id:str}/events", opt=STREAM, responses={400: NO_POSITION, 410: GONE})
async def graph_events(
    graph_id: FromPath[str],
    user: CurrentUser,
    last_event_id: LastEventId = None,
    last_event: FromQuery[str | None] = None,
    snapshot: FromQuery[bool] = False,
) -> ASGIResponse:
    """The run events of all runs of a graph, as server-sent events, from now on or behind the client's last one."""
    wanted = streaming.Wanted(position=last_event_id or last_event, snapshot=snapshot)
    return await streaming.of_graph(service.hub(), user, graph_id, wanted)


_over_http = Router("/api", route_handlers=[issue_ticket, run_events, graph_events], tags=["events"])
router = Router("/", route_handlers=[events, _over_http])
