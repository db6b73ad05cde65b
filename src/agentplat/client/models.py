"""What a client gets to see. Members that are not named here are ignored, so a newer platform does no harm."""

from datetime import datetime
from typing import Any

from msgspec import Raw, Struct

FINAL = frozenset({"COMPLETED", "FAILED", "TERMINATED"})


class NewRun(Struct, frozen=True, kw_only=True):
    """A run to be, of the agent's active version if no other is named."""

    graph_id: str
    graph_version: int | None = None
    inputs: dict[str, Any] = {}
    credentials_inputs: dict[str, Any] = {}
    deadline_seconds: int | None = None
    idempotency_key: str | None = None


class Stats(Struct, frozen=True, kw_only=True):
    """Figures of a run: seconds, credits, numbers of node executions."""

    cost: int = 0
    duration: float = 0
    node_exec_time: float = 0
    node_exec_count: int = 0
    node_error_count: int = 0
    error: str | None = None
    timings: dict[str, Any] | None = None
    queue_position: int | None = None


class NodeExecution(Struct, frozen=True, kw_only=True):
    """One execution of one node, as far as it has come. `truncated` as in Run."""

    node_exec_id: str
    node_id: str
    block_id: str = ""
    status: str
    input_data: dict[str, Any] = {}
    output_data: dict[str, list[Any]] = {}
    add_time: datetime | None = None
    queue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    timings: dict[str, float | None] = {}
    truncated: list[str] = []


class Run(Struct, frozen=True, kw_only=True):
    """One run, as far as it has come. Answers about a single run have `node_executions`, events don't.

    `truncated` are the members that were too large for an event: there they are not whole, in answers they are.
    `inputs` are None in answers about many runs where they are large.
    """

    id: str
    graph_id: str
    graph_version: int
    status: str
    inputs: dict[str, Any] | None = {}
    started_at: datetime | None = None
    ended_at: datetime | None = None
    stats: Stats | None = None
    outputs: dict[str, list[Any]] = {}
    node_executions: list[NodeExecution] = []
    truncated: list[str] = []

    @property
    def final(self) -> bool:
        return self.status in FINAL


class RunEvent(Struct, frozen=True, kw_only=True):
    """The run changed. `seq` is the event's number in its run: 1, 2, 3 …; `raw` is the event's data as it was sent."""

    seq: int
    run: Run
    raw: bytes

    @property
    def final(self) -> bool:
        """Whether nothing of this run follows."""
        return self.run.final


class NodeEvent(Struct, frozen=True, kw_only=True):
    """A node execution changed. `seq` and `raw` as in RunEvent."""

    seq: int
    node: NodeExecution
    raw: bytes

    @property
    def final(self) -> bool:
        return False


class Snapshot(Struct, frozen=True, kw_only=True):
    """How a run stands after event `seq`: only asked for, and only the first of its stream."""

    seq: int
    run: Run
    nodes: list[NodeExecution]
    raw: bytes

    @property
    def final(self) -> bool:
        return self.run.final


Event = RunEvent | NodeEvent | Snapshot


class Frame(Struct, frozen=True, kw_only=True):
    """What the event socket says. `data` stays undecoded until somebody wants it."""

    method: str
    channel: str | None = None
    data: Raw = Raw(b"null")
    seq: int | None = None
    success: bool | None = None
    error: str | None = None
