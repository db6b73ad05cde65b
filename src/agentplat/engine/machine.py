"""The state of one run, and the only code that changes it.

`RunMachine.feed(message)` takes one fact and returns what is to be done about it. It has no clock, no randomness and no
I/O: the same messages in the same order give the same state, on any machine, at any time. So the journal of a run is
the run, and a worker that died is replaced by replaying it.

How values meet (AutoGPT Platform semantics): a value that arrives on a pin joins the oldest incomplete activation of
the node that still lacks this pin, or begins a new one, so the n-th value of one pin meets the n-th of another. Static
pins are filled from the latest queued activation. Outputs of one node are routed in the order in which its activations
started, whichever ends first. An argument that a tool call leaves out takes its turn on its pin as a value would.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from agentplat.engine.activation import (
    Activation,
    AnswerCall,
    CancelNode,
    Command,
    FinishRun,
    Observer,
    StartNode,
    SuspendRun,
)
from agentplat.engine.messages import (
    MailTaken,
    Message,
    NodeEnded,
    NodeReleased,
    NodeRetried,
    NodeStarted,
    NodeSuspended,
    NodeTerminated,
    NodeYielded,
    Outputs,
    RunAborted,
    RunBegan,
    RunEnded,
    RunSuspended,
    ToolCalled,
)
from agentplat.engine.pins import select
from agentplat.engine.place import Place, assembled, filled
from agentplat.engine.plan import Plan, PlanLink, PlanNode, starting_inputs
from agentplat.engine.state import FINAL, IllegalTransition, Status, check_transition
from agentplat.engine.stopwatch import Stopwatch


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
        self.worked = Stopwatch()  # while it is RUNNING
        self.activations: list[Activation] = []
        self.outputs: dict[str, list[Any]] = {}
        self.node_count = 0
        self.error_count = 0
        self.nodes_walltime = 0
        self.cost = 0
        self.aborted = False
        self.mail_taken = 0
        self._active = 0  # queued or running
        self._waiting = 0  # for a person
        self._places = [Place(node) for node in plan.nodes]
        self._commands: list[Command] = []
        # Last node first: the order in which the AutoGPT Platform takes them, visible where it decides which value
        # comes first on a pin.
        for node, data in reversed(starting_inputs(plan, inputs or {}, self.masks, skipped)):
            self._queue(self._new_activation(node, at), data, at)
        self._commands.clear()  # they start when the run does
        self.observer = observer

    def feed(self, message: Message) -> list[Command]:
        """Apply one message. Raises IllegalTransition, and changes nothing, where it can't follow what came before."""
        self._apply[type(message)](self, message)
        commands, self._commands = self._commands, []
        if self._active == 0 and self.status not in FINAL:
            commands.extend(self._rest())
        return commands

    def _rest(self) -> list[Command]:
        """What is left to do when nothing is queued or running."""
        if self._waiting:
            return [SuspendRun()] if self.status is Status.RUNNING else []
        return [FinishRun(self._final_status())]

    def pending(self) -> list[Command]:
        """What is to be done in this state: after a replay, the commands of the replayed messages are void."""
        if self.status is not Status.RUNNING and not self.aborted:
            return []
        return self._starts() if self._active else self._rest()

    def _starts(self) -> list[Command]:
        return [StartNode(act) for act in self.activations if act.status is Status.QUEUED]

    def running(self) -> list[Activation]:
        """The activations that were started and have not ended."""
        return [act for act in self.activations if act.status is Status.RUNNING]

    # Messages

    def _run_began(self, message: RunBegan) -> None:
        check_transition(self.status, Status.RUNNING)
        self.status = Status.RUNNING
        self.started_at = self.started_at or message.at
        self.worked.start(message.at)
        if self.observer:
            self.observer.run_changed()
        self._commands = self._starts()

    def _node_started(self, message: NodeStarted) -> None:
        act = self._activation(message.activation, Status.QUEUED)
        act.cost = message.cost
        self.cost += message.cost
        self._begin(act, message.at)

    def _node_yielded(self, message: NodeYielded) -> None:
        act = self._activation(message.activation, Status.RUNNING)
        act.emit(message.outputs, self.observer)
        if self._places[act.node.index].inflight[0] is act:
            self._route(act, message.outputs, message.at)
        else:
            act.unrouted.extend(message.outputs)

    def _node_ended(self, message: NodeEnded) -> None:
        if message.started_at is not None:
            act = self._activation(message.activation, Status.QUEUED)
            self._begin(act, message.started_at)
        else:
            act = self._activation(message.activation, Status.RUNNING, Status.REVIEW)
            if act.status is Status.REVIEW:
                self._waiting -= 1
                self._active += 1
                self._begin(act, message.at)
        outputs = message.outputs
        if message.error is not None:
            outputs = [*outputs, ("error", message.error)]
            self.error_count += 1
        act.emit(outputs, self.observer)
        act.status = Status.COMPLETED if message.error is None else Status.FAILED
        act.stats = message.stats
        self._close(act, message.at, ended=True)
        place = self._places[act.node.index]
        if place.inflight[0] is act:
            self._route(act, outputs, message.at)
            self._release(place, message.at)
        else:
            act.unrouted.extend(outputs)
        if act.caller is not None:
            self._commands.append(AnswerCall(act.caller))

    def _node_terminated(self, message: NodeTerminated) -> None:
        act = self._activation(message.activation, Status.RUNNING)
        act.status = Status.TERMINATED
        self._close(act, message.at, ended=False)
        self._release(self._places[act.node.index], message.at)

    def _node_suspended(self, message: NodeSuspended) -> None:
        """Its outputs, when they come, take their turn anew: nobody waits for a person but who must."""
        act = self._activation(message.activation, Status.RUNNING)
        place = self._places[act.node.index]
        place.inflight.remove(act)
        act.status = Status.REVIEW
        self._waiting += 1
        self._close(act, message.at, ended=False)
        self._release(place, message.at)

    def _node_released(self, message: NodeReleased) -> None:
        act = self._activation(message.activation, Status.REVIEW)
        if message.data is not None:
            act.data = message.data
        act.reviewed = True
        act.status = Status.QUEUED
        self._waiting -= 1
        self._active += 1
        self._commands.append(StartNode(act))
        if self.observer:
            self.observer.node_changed(act)

    def _node_retried(self, message: NodeRetried) -> None:
        self._activation(message.activation, Status.RUNNING).attempts += 1

    def _tool_called(self, message: ToolCalled) -> None:
        """The call has an activation to itself: of what came from elsewhere only static values meet it."""
        caller = self._activation(message.activation, Status.RUNNING)
        if (node := self.plan.by_id.get(message.node)) is None:
            raise IllegalTransition(f"there is no node {message.node}")
        act = self._new_activation(node, message.at)
        act.received, act.caller = message.arguments, caller
        caller.calls += (act,)
        if message.memo is not None:
            caller.memo, caller.emitted_before_memo = message.memo, caller.emitted()
        data = {**self._places[node.index].static_values(node), **act.received}
        complete = assembled(act, data, self.masks.get(node.id), skipped=False)
        if complete is not None:
            self._queue(act, complete, message.at)
            return
        act.status = Status.FAILED
        self.error_count += 1
        act.emit([("error", f"Input data missing or mismatch for `{node.spec.name}`")], self.observer)
        self._commands.append(AnswerCall(caller))

    def _mail_taken(self, message: MailTaken) -> None:
        if message.number <= self.mail_taken:
            raise IllegalTransition(f"mail up to {self.mail_taken} has been taken already")
        self.mail_taken = message.number

    def _run_suspended(self, message: RunSuspended) -> None:
        if self._active or not self._waiting:
            raise IllegalTransition("a run is suspended when all that is left waits for a person")
        check_transition(self.status, Status.REVIEW)
        self.status = Status.REVIEW
        self.worked.stop(message.at)
        if self.observer:
            self.observer.run_changed()

    def _run_aborted(self, message: RunAborted) -> None:
        if self.status in FINAL or self.aborted:
            raise IllegalTransition(f"a run that is {self.status} can't be aborted")
        if message.activation is not None:
            self._refuse(self._activation(message.activation, Status.QUEUED), message)
        self.aborted = True
        self.error = message.error
        if self.status is Status.QUEUED and message.error is not None:
            self._active = 0  # it never began: what waits to start goes on showing that
            return
        target = Status.TERMINATED if message.error is None else Status.FAILED
        for act in self.activations:
            if act.status is Status.QUEUED or act.status is Status.REVIEW:
                self._active -= act.status is Status.QUEUED
                self._waiting -= act.status is Status.REVIEW
                act.status = target
                if self.observer:
                    self.observer.node_changed(act)
            elif act.status is Status.RUNNING:
                self._commands.append(CancelNode(act))

    def _refuse(self, act: Activation, message: RunAborted) -> None:
        act.status = Status.FAILED
        act.outputs["error"] = [message.error]
        self.error_count += 1
        self._close(act, message.at, ended=True)

    def _run_ended(self, message: RunEnded) -> None:
        if self._active or self._waiting:
            raise IllegalTransition("a run can't end while nodes are queued, running or waiting")
        target = self._final_status()
        check_transition(self.status, target)
        self.status = target
        self.ended_at = message.at
        self.worked.stop(message.at)
        if self.observer:
            self.observer.run_changed()

    # Outputs and routing

    def _close(self, act: Activation, at: int, *, ended: bool) -> None:
        self._active -= 1
        if ended:
            act.ended_at = at
        self.node_count += 1
        if act.stats:
            self.node_count += act.stats.get("extra_steps", 0)
            self.cost += act.stats.get("extra_cost", 0)
        self.nodes_walltime += at - (act.started_at or at)
        if self.observer:
            self.observer.node_changed(act)
            self.observer.run_changed()

    def _release(self, place: Place, at: int) -> None:
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
                if part is not None or way.exact or way.argument:
                    self._deliver(link, part, at, omitted=part is None and way.argument)

    def _deliver(self, link: PlanLink, value: Any, at: int, *, omitted: bool) -> None:
        node = self.plan.nodes[link.sink]
        place = self._places[link.sink]
        pin = link.sink_name
        act = place.lacking(pin)
        if act is None:
            act = self._new_activation(node, at)
            place.add(act, pin)
        if omitted:
            act.omitted += (pin,)
        else:
            act.received[pin] = value
        if self.observer:
            self.observer.node_changed(act)
        mask, skipped = self.masks.get(node.id), node.id in self.skipped
        data = act.received
        if node.static_pins and place.latest is not None:
            data = filled(act, place.latest.data)
        complete = assembled(act, data, mask, skipped=skipped)
        if complete is None:
            return
        self._queue(act, complete, at)
        if link.is_static and place.incomplete:
            for other in list(place.incomplete.values()):
                completed = assembled(other, filled(other, complete), mask, skipped=skipped)
                if completed is not None:
                    self._queue(other, completed, at)

    # Activations

    def _activation(self, number: int, expected: Status, other: Status | None = None) -> Activation:
        if not 0 < number <= len(self.activations):
            raise IllegalTransition(f"there is no activation {number}")
        act = self.activations[number - 1]
        if act.status is not expected and act.status is not other:
            raise IllegalTransition(f"activation {number} is {act.status}, not {expected}")
        return act

    def _begin(self, act: Activation, at: int) -> None:
        act.status = Status.RUNNING
        act.started_at = at
        self._places[act.node.index].inflight.append(act)
        if self.observer:
            self.observer.node_changed(act)

    def _new_activation(self, node: PlanNode, at: int) -> Activation:
        act = Activation(len(self.activations) + 1, node, at)
        self.activations.append(act)
        return act

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

    _apply: ClassVar[dict[type, Callable[["RunMachine", Any], None]]] = {
        NodeEnded: _node_ended,
        NodeStarted: _node_started,
        NodeYielded: _node_yielded,
        NodeTerminated: _node_terminated,
        NodeSuspended: _node_suspended,
        NodeReleased: _node_released,
        NodeRetried: _node_retried,
        ToolCalled: _tool_called,
        MailTaken: _mail_taken,
        RunBegan: _run_began,
        RunSuspended: _run_suspended,
        RunAborted: _run_aborted,
        RunEnded: _run_ended,
    }

    def _final_status(self) -> Status:
        if not self.aborted:
            return Status.COMPLETED
        return Status.TERMINATED if self.error is None else Status.FAILED
