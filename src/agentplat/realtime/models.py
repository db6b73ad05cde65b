"""Messages of the event socket: what clients send, and what they get."""

from typing import Any, Literal

from msgspec import Struct

from agentplat.runs.models import NodeExecution, Run

Method = Literal[
    "subscribe_graph_execution",
    "subscribe_graph_executions",
    "unsubscribe",
    "heartbeat",
    "graph_execution_event",
    "node_execution_event",
    "notification",
    "error",
]


class ClientMessage(Struct, frozen=True, kw_only=True):
    """Any message of a client. Members that it doesn't need are ignored."""

    method: Method
    data: Any = None
    success: bool | None = None
    channel: str | None = None
    error: str | None = None


class ServerMessage(Struct, frozen=True, kw_only=True):
    """Any message of ours: always all five members."""

    method: Method
    data: Any = None
    success: bool | None = None
    channel: str | None = None
    error: str | None = None


class Pong(Struct, frozen=True, kw_only=True):
    """The one message with three members."""

    method: Literal["heartbeat"] = "heartbeat"
    data: Literal["pong"] = "pong"
    success: Literal[True] = True


class RunTarget(Struct, frozen=True):
    graph_exec_id: str


class GraphTarget(Struct, frozen=True):
    graph_id: str


class RunEvent(Run, frozen=True, kw_only=True):
    """A run's whole state after a change."""

    event_type: str = "graph_execution_update"


class NodeEvent(NodeExecution, frozen=True, kw_only=True):
    """A node execution's whole state after a change."""

    event_type: str = "node_execution_update"


def run_channel(user_id: str, run_id: str) -> str:
    return f"{user_id}|graph_exec#{run_id}"


def graph_channel(user_id: str, graph_id: str) -> str:
    return f"{user_id}|graph#{graph_id}|executions"
