"""What a run's machine is made of, and what it asks for."""

from typing import Any, Protocol

from msgspec import Struct

from agentplat.engine.messages import Outputs
from agentplat.engine.plan import PlanNode
from agentplat.engine.state import Status


class Activation:
    """One execution of one node. `number` counts them per run from 1. Times are microseconds since the epoch."""

    __slots__ = (
        "added_at",
        "attempts",
        "cost",
        "data",
        "ended_at",
        "node",
        "number",
        "omitted",
        "outputs",
        "queued_at",
        "received",
        "reviewed",
        "started_at",
        "stats",
        "status",
        "unrouted",
    )

    def __init__(self, number: int, node: PlanNode, at: int) -> None:
        self.number = number
        self.node = node
        self.status = Status.INCOMPLETE
        self.received: dict[str, Any] = {}
        self.omitted: tuple[str, ...] = ()  # pins that a tool call left out: it goes on without them
        self.data: dict[str, Any] | None = None
        self.outputs: dict[str, list[Any]] = {}
        self.unrouted: Outputs = []
        self.stats: dict[str, Any] | None = None
        self.cost = 0
        self.attempts = 0  # that failed and were followed by another one
        self.reviewed = False  # a person has let it run
        self.added_at = at
        self.queued_at: int | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None


class StartNode(Struct, frozen=True, gc=False):
    """Run the block of this activation with its `data`."""

    activation: Activation


class CancelNode(Struct, frozen=True, gc=False):
    """Stop this running activation and report `NodeTerminated`."""

    activation: Activation


class FinishRun(Struct, frozen=True, gc=False):
    """Nothing is left to do: record `RunEnded`, which will make the run's status this one."""

    status: Status


class SuspendRun(Struct, frozen=True, gc=False):
    """Nothing can go on until a person answers: record `RunSuspended` and let go of the run."""


Command = StartNode | CancelNode | FinishRun | SuspendRun


class Observer(Protocol):
    """Is told of every visible change, right after it, in order."""

    def node_changed(self, activation: Activation) -> None: ...

    def run_changed(self) -> None: ...
