"""The state of one run, and the only code that changes it.

`RunMachine.feed(message)` takes one fact and returns what is to be done about it. It has no clock, no randomness and no
I/O: the same messages in the same order give the same state, on any machine, at any time. So the journal of a run is
the run, and a worker that died is replaced by replaying it.

How values meet (AutoGPT Platform semantics): a value that arrives on a pin joins the oldest incomplete activation of
the node that still lacks this pin, or begins a new one, so the n-th value of one pin meets the n-th of another. Static
pins are filled from the latest queued activation. Outputs of one node are routed in the order in which its activations
started, whichever ends first.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from agentplat.engine.activation import Activation, CancelNode, Command, FinishRun, Observer, StartNode
from agentplat.engine.messages import (
    Message,
    NodeEnded,
    NodeStarted,
    NodeTerminated,
    NodeYielded,
    Outputs,
    RunAborted,
    RunBegan,
    RunEnded,
)
from agentplat.engine.pins import select
from agentplat.engine.plan import Plan, PlanLink, PlanNode, starting_inputs
from agentplat.engine.state import FINAL, IllegalTransition, Status, check_transition

# Of a message with more outputs than this, watchers see all outputs at once.
MAX_SHOWN_SINGLY = 64


class _Place:
    """A node's activations in this run."""

    __slots__ = ("incomplete", "inflight", "latest", "waiting")

    def __init__(self, node: PlanNode) -> None:
        self.incomplete: dict[int, Activation] = {}
        self.inflight: deque[Activation] = deque()
        self.latest: Activation | None = None
        # Per pin, in order: the activations that began without it. Entries whose activation has been queued since are
        # dropped when they are met. One pin alone never waits.
        self.waiting: dict[str, deque[Activation]] = (
            {name: deque() for name in node.linked} if len(node.linked) > 1 else {}
        )


class RunMachine:
    """See the module. Not safe for concurrent use; one run has one machine.

    It is made when the run is accepted (`at`), with the starting nodes queued. Raises StartError where they can't be.
    """

    def __init__(
        self,
        plan: Plan,
        at: int,
        inputs: Mapping[str, Any] | None = None,
        masks: Mapping[str, dict[str, Any]] | None = None,
        skipped: frozenset[str] = frozenset(),
        observer: Observer | None = None,
    ) -> None:
        self.plan = plan
        self.masks = dict(masks or {})
        self.skipped = skipped
        self.observer: Observer | None = None
        self.status = Status.QUEUED
        self.error: str | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.activations: list[Activation] = []
        self.outputs: dict[str, list[Any]] = {}
        self.node_count = 0
        self.error_count = 0
        self.nodes_walltime = 0
        self.aborted = False
        self._active = 0  # queued or running
        self._places = [_Place(node) for node in plan.nodes]
        self._commands: list[Command] = []
        # Last node first: the order in which the AutoGPT Platform takes them, visible where it decides which value
        # comes first on a pin.
        for node, data in reversed(starting_inputs(plan, inputs or {}, self.masks)):
            self._queue(self._new_activation(node, at), data, at)
        self._commands.clear()  # they start when the run does
        self.observer = observer

    def feed(self, message: Message) -> list[Command]:
        """Apply one message. Raises IllegalTransition, and changes nothing, where it can't follow what came before."""
        kind = type(message)
        if kind is NodeEnded:
            self._node_ended(message)  # type: ignore[arg-type]
        elif kind is NodeStarted:
            self._node_started(message)  # type: ignore[arg-type]
        elif kind is NodeYielded:
            self._node_yielded(message)  # type: ignore[arg-type]
        elif kind is RunBegan:
            self._run_began(message)  # type: ignore[arg-type]
        elif kind is NodeTerminated:
            self._node_terminated(message)  # type: ignore[arg-type]
        elif kind is RunAborted:
            self._run_aborted(message)  # type: ignore[arg-type]
        else:
            self._run_ended(message)  # type: ignore[arg-type]
        commands, self._commands = self._commands, []
        if self._active == 0 and self.status not in FINAL:
            commands.append(FinishRun(self._final_status()))
        return commands

    def pending(self) -> list[Command]:
        """What is to be done in this state: after a replay, the commands of the replayed messages are void."""
        if self.status is not Status.RUNNING and not self.aborted:
            return []
        if self._active == 0:
            return [FinishRun(self._final_status())]
        return self._starts()

    def _starts(self) -> list[Command]:
        return [StartNode(act) for act in self.activations if act.status is Status.QUEUED]

    def running(self) -> list[Activation]:
        """The activations that were started and have not ended."""
        return [act for act in self.activations if act.status is Status.RUNNING]

    # Messages

    def _run_began(self, message: RunBegan) -> None:
        check_transition(self.status, Status.RUNNING)
        self.status = Status.RUNNING
        self.started_at = message.at
        if self.observer:
            self.observer.run_changed()
        self._commands = self._starts()

    def _node_started(self, message: NodeStarted) -> None:
        act = self._activation(message.activation, Status.QUEUED)
        act.status = Status.RUNNING
        act.started_at = message.at
        self._places[act.node.index].inflight.append(act)
        if self.observer:
            self.observer.node_changed(act)

    def _node_yielded(self, message: NodeYielded) -> None:
        act = self._activation(message.activation, Status.RUNNING)
        self._emit(act, message.outputs)
        if self._places[act.node.index].inflight[0] is act:
            self._route(act, message.outputs, message.at)
        else:
            act.unrouted.extend(message.outputs)

    def _node_ended(self, message: NodeEnded) -> None:
        place = None
        if message.started_at is None:
            act = self._activation(message.activation, Status.RUNNING)
        else:
            act = self._activation(message.activation, Status.QUEUED)
            act.started_at = message.started_at
            place = self._places[act.node.index]
            place.inflight.append(act)
            if self.observer:
                act.status = Status.RUNNING
                self.observer.node_changed(act)
        outputs = message.outputs
        if message.error is not None:
            outputs = [*outputs, ("error", message.error)]
            self.error_count += 1
        self._emit(act, outputs)
        act.status = Status.COMPLETED if message.error is None else Status.FAILED
        act.stats = message.stats
        self._close(act, message.at, ended=True)
        place = place or self._places[act.node.index]
        if place.inflight[0] is act:
            self._route(act, outputs, message.at)
            self._release(place, message.at)
        else:
            act.unrouted.extend(outputs)

    def _node_terminated(self, message: NodeTerminated) -> None:
        act = self._activation(message.activation, Status.RUNNING)
        act.status = Status.TERMINATED
        self._close(act, message.at, ended=False)
        self._release(self._places[act.node.index], message.at)

    def _run_aborted(self, message: RunAborted) -> None:
        if self.status in FINAL or self.aborted:
            raise IllegalTransition(f"a run that is {self.status} can't be aborted")
        self.aborted = True
        self.error = message.error
        target = Status.TERMINATED if message.error is None else Status.FAILED
        for act in self.activations:
            if act.status is Status.QUEUED:
                act.status = target
                self._active -= 1
                if self.observer:
                    self.observer.node_changed(act)
            elif act.status is Status.RUNNING:
                self._commands.append(CancelNode(act))

    def _run_ended(self, message: RunEnded) -> None:
        if self._active:
            raise IllegalTransition("a run can't end while nodes are queued or running")
        target = self._final_status()
        check_transition(self.status, target)
        self.status = target
        self.ended_at = message.at
        if self.observer:
            self.observer.run_changed()

    # Outputs and routing

    def _emit(self, act: Activation, outputs: Outputs) -> None:
        """Record outputs. A watched activation shows them one by one, unless that would be a flood: each time it
        shows all outputs so far, so the cost is the square of their number."""
        recorded = act.outputs
        one_by_one = self.observer is not None and len(outputs) <= MAX_SHOWN_SINGLY
        for name, value in outputs:
            values = recorded.get(name)
            if values is None:
                recorded[name] = [value]
            else:
                values.append(value)
            if one_by_one:
                self.observer.node_changed(act)  # type: ignore[union-attr]
        if self.observer and not one_by_one:
            self.observer.node_changed(act)

    def _close(self, act: Activation, at: int, *, ended: bool) -> None:
        self._active -= 1
        if ended:
            act.ended_at = at
        self.node_count += 1 + (act.stats.get("extra_steps", 0) if act.stats else 0)
        self.nodes_walltime += at - (act.started_at or at)
        if self.observer:
            self.observer.node_changed(act)
            self.observer.run_changed()

    def _release(self, place: _Place, at: int) -> None:
        """Route what had to wait for earlier activations of the node, up to the first one still running."""
        inflight = place.inflight
        while inflight:
            head = inflight[0]
            if head.unrouted:
                outputs, head.unrouted = head.unrouted, []
                self._route(head, outputs, at)
            if head.status is Status.RUNNING:
                return
            inflight.popleft()

    def _route(self, act: Activation, outputs: Outputs, at: int) -> None:
        if self.aborted:
            return
        node = act.node
        for name, value in outputs:
            for link, way in node.routes(name):
                part = select(value, way.path) if way.path else value
                if part is not None or way.exact:
                    self._deliver(link, part, at)

    def _deliver(self, link: PlanLink, value: Any, at: int) -> None:
        node = self.plan.nodes[link.sink]
        place = self._places[link.sink]
        pin = link.sink_name
        act = self._lacking(place, pin) or self._new_activation(node, at, lacks_all_but=pin)
        act.received[pin] = value
        if self.observer:
            self.observer.node_changed(act)
        data = act.received
        if node.static_pins and place.latest is not None:
            data = _filled(data, node.static_pins, place.latest.data)
        assembled = self._assemble(node, data)
        if assembled is None:
            return
        self._queue(act, assembled, at)
        if link.is_static and place.incomplete:
            for other in list(place.incomplete.values()):
                completed = self._assemble(node, _filled(other.received, node.static_pins, assembled))
                if completed is not None:
                    self._queue(other, completed, at)

    def _assemble(self, node: PlanNode, data: dict[str, Any]) -> dict[str, Any] | None:
        mask = self.masks.get(node.id)
        if mask:
            data = {**data, **mask}
        if len(data) < len(node.linked):
            return None
        for name in node.linked:
            if name not in data:
                return None
        assembled = node.assembler.assemble(data, plain=not mask)
        return None if isinstance(assembled, str) else assembled

    # Activations

    def _activation(self, number: int, expected: Status) -> Activation:
        if not 0 < number <= len(self.activations):
            raise IllegalTransition(f"there is no activation {number}")
        act = self.activations[number - 1]
        if act.status is not expected:
            raise IllegalTransition(f"activation {number} is {act.status}, not {expected}")
        return act

    def _new_activation(self, node: PlanNode, at: int, lacks_all_but: str | None = None) -> Activation:
        act = Activation(len(self.activations) + 1, node, at)
        self.activations.append(act)
        if lacks_all_but is not None:
            place = self._places[node.index]
            place.incomplete[act.number] = act
            for name, waiting in place.waiting.items():
                if name != lacks_all_but:
                    waiting.append(act)
        return act

    @staticmethod
    def _lacking(place: _Place, pin: str) -> Activation | None:
        """The oldest incomplete activation without a value for `pin`."""
        waiting = place.waiting.get(pin)
        while waiting:
            act = waiting.popleft()
            if act.status is Status.INCOMPLETE:
                return act
        return None

    def _queue(self, act: Activation, data: dict[str, Any], at: int) -> None:
        node = act.node
        place = self._places[node.index]
        place.incomplete.pop(act.number, None)
        place.latest = act
        act.data = data
        act.queued_at = at
        if node.is_output:
            self.outputs.setdefault(str(data.get("name")), []).append(data.get("value"))
        if node.id in self.skipped:
            act.status = Status.COMPLETED
        else:
            act.status = Status.QUEUED
            self._active += 1
            self._commands.append(StartNode(act))
        if self.observer:
            self.observer.node_changed(act)

    def _final_status(self) -> Status:
        if not self.aborted:
            return Status.COMPLETED
        return Status.TERMINATED if self.error is None else Status.FAILED


def _filled(data: dict[str, Any], static_pins: tuple[str, ...], source: dict[str, Any] | None) -> dict[str, Any]:
    """`data` with the static pins that it lacks taken from another activation's assembled input."""
    missing = [name for name in static_pins if name not in data]
    if not missing:
        return data
    source = source or {}
    return {**data, **{name: source.get(name) for name in missing}}
