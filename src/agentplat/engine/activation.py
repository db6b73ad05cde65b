"""What a run's machine is made of, and what it asks for."""

from typing import Any, Protocol

from msgspec import Struct

from agentplat.engine.messages import Outputs
from agentplat.engine.plan import PlanNode
from agentplat.engine.state import Status

# Of a message with more outputs than this, watchers see all outputs at once.
MAX_SHOWN_SINGLY = 64


class Activation:
    """One execution of one node. `number` counts them per run from 1. Times are microseconds since the epoch."""

    __slots__ = (
        "added_at",
        "attempts",
        "caller",
        "calls",
        "cost",
        "data",
        "emitted_before_memo",
        "ended_at",
        "memo",
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
        self.caller: Activation | None = None  # waits for what comes of this
        self.calls: tuple[Activation, ...] = ()  # made by this
        self.memo: Any = None  # what its block needs to go on from the last call that came with one
        self.emitted_before_memo = 0  # so many outputs
        self.added_at = at
        self.queued_at: int | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None

    def emit(self, outputs: Outputs, observer: "Observer | None") -> None:
        """Record outputs. A watched activation shows them one by one, unless that would be a flood: each time it
        shows all outputs so far, so the cost is the square of their number."""
        one_by_one = observer is not None and len(outputs) <= MAX_SHOWN_SINGLY
        for name, value in outputs:
            values = self.outputs.get(name)
            if values is None:
                self.outputs[name] = [value]
            else:
                values.append(value)
            if one_by_one:
                observer.node_changed(self)  # type: ignore[union-attr]
        if observer and not one_by_one:
            observer.node_changed(self)

    def emitted(self) -> int:
        """How many outputs there are."""
        return sum(map(len, self.outputs.values()))


class StartNode(Struct, frozen=True, gc=False):
    """Run the block of this activation with its `data`."""

    activation: Activation


class CancelNode(Struct, frozen=True, gc=False):
    """Stop this running activation and report `NodeTerminated`."""

    activation: Activation


class AnswerCall(Struct, frozen=True, gc=False):
    """A tool that this running activation called is done: see its `calls`."""

    activation: Activation


class FinishRun(Struct, frozen=True, gc=False):
    """Nothing is left to do: record `RunEnded`, which will make the run's status this one."""

    status: Status


class SuspendRun(Struct, frozen=True, gc=False):
    """Nothing can go on until a person answers: record `RunSuspended` and let go of the run."""


Command = StartNode | CancelNode | AnswerCall | FinishRun | SuspendRun


class Observer(Protocol):
    """Is told of every visible change, right after it, in order."""

    def node_changed(self, activation: Activation) -> None: ...

    def run_changed(self) -> None: ...
