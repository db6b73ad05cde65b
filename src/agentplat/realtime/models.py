"""Messages of the event socket: what clients send, and what they get."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from agentplat.runs.models import NodeExecution, Run

Method = Literal[
    "subscribe_graph_execution",
    "subscribe_graph_executions",
    "subscribe_user",
    "unsubscribe",
    "heartbeat",
    "graph_execution_event",
    "node_execution_event",
    "notification",
    "snapshot",
    "gap",
    "error",
]
RUN_EVENT = "graph_execution_event"
NODE_EVENT = "node_execution_event"
EventKind = Literal["graph_execution_event", "node_execution_event"]
EventNumber = Annotated[int, Meta(ge=0, le=2**53)]
# Ids may be any text, which a subscription keeps for as long as it lasts.
SubscribedId = Annotated[str, Meta(max_length=256)]

# Runs that one subscription may resume, or show a snapshot of.
MAX_RESUMED = 1000
MAX_SNAPSHOTS = 100


class ClientMessage(Struct, frozen=True, kw_only=True):
    """Any message of a client. Members that it doesn't need are ignored."""

    method: Method
    data: Any = None
    success: bool | None = None
    channel: str | None = None
    error: str | None = None


class ServerMessage(Struct, frozen=True, kw_only=True):
    """Any message of ours: always all five members. `seq` comes with what a client has opted into."""

    method: Method
    data: Any = None
    success: bool | None = None
    channel: str | None = None
    error: str | None = None
    seq: int | UnsetType | None = UNSET


class Pong(Struct, frozen=True, kw_only=True):
    """The one message with three members."""

    method: Literal["heartbeat"] = "heartbeat"
    data: Literal["pong"] = "pong"
    success: Literal[True] = True


class EventFilter(Struct, frozen=True, kw_only=True):
    """Which events a client wants; `nodes` concerns node events only. What isn't given leaves nothing out."""

    events: frozenset[EventKind] | None = None
    nodes: Annotated[frozenset[SubscribedId], Meta(max_length=1000)] | None = None

    def lets_pass(self, kind: str, node_id: str | None) -> bool:
        if self.events is not None and kind not in self.events:
            return False
        return node_id is None or self.nodes is None or node_id in self.nodes


class Options(Struct, frozen=True, kw_only=True):
    """What a subscription opts into beyond the contract."""

    seq: bool = False
    snapshot: bool = False
    batch: bool = False
    filter: EventFilter | None = None


class RunTarget(Options, frozen=True, kw_only=True):
    graph_exec_id: SubscribedId
    last_event: EventNumber | None = None

    @property
    def opted_in(self) -> bool:
        return self.seq or self.snapshot or self.batch or self.filter is not None or self.last_event is not None


class RunsTarget(Options, frozen=True, kw_only=True):
    """Several runs: `last_event` has the last number that the client knows of each run that it wants to resume."""

    last_event: dict[str, EventNumber] | None = None

    @property
    def opted_in(self) -> bool:
        return self.seq or self.snapshot or self.batch or self.filter is not None or self.last_event is not None


class GraphTarget(RunsTarget, frozen=True, kw_only=True):
    graph_id: SubscribedId


class UserTarget(RunsTarget, frozen=True, kw_only=True):
    pass


class UnsubscribeTarget(Struct, frozen=True, kw_only=True):
    """One of them."""

    graph_exec_id: str | None = None
    graph_id: str | None = None
    user: Literal[True] | None = None


class Ticket(Struct, frozen=True, kw_only=True):
    """Opens one connection within `expires_in` seconds."""

    ticket: str
    expires_in: int


class RunEvent(Run, frozen=True, kw_only=True):
    """A run's whole state after a change."""

    event_type: str = "graph_execution_update"


class NodeEvent(NodeExecution, frozen=True, kw_only=True):
    """A node execution's whole state after a change."""

    event_type: str = "node_execution_update"


class ChannelKey(Struct, frozen=True, gc=False, array_like=True):
    """What is subscribed to. `str` is how clients are told: ids may be any text, so two of these could meet. `name` is
    what the channels plugin is told, and no other key has it.

    `kind` is "run", "graph" or "user"; `id` is the run's or the graph's, and empty for all runs of the user.
    """

    user_id: str
    kind: str
    id: str

    @property
    def name(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def named(cls, name: str) -> "ChannelKey":
        return msgspec.json.decode(name, type=cls)

    def __str__(self) -> str:
        if self.kind == "run":
            return f"{self.user_id}|graph_exec#{self.id}"
        if self.kind == "graph":
            return f"{self.user_id}|graph#{self.id}|executions"
        return f"{self.user_id}|executions"
