"""The nodes of a hosted run that may suspend: the rules of `runs/nodes.py`. Keep the two alike."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from agentplat.engine.activation import Activation
from agentplat.engine.messages import Message, NodeEnded, NodeSuspended, NodeYielded, ToolCalled
from agentplat.engine.state import FINAL, Status
from tests.simulation.graphs import AGENT, CALLER, CALLS, REVIEW, SENSITIVE, emitted

if TYPE_CHECKING:
    from tests.simulation.hosted import Hosted
    from tests.simulation.worker import Ticket, Worker


class Task:
    """A block that runs beside the loop. `hear` is what it does when a tool that it called is done."""

    def __init__(self, act: Activation) -> None:
        self.act = act
        self.cancelled = False
        self.hear: Callable[[], None] | None = None


class Tasks:
    def __init__(self, hosted: "Hosted", worker: "Worker") -> None:
        self._hosted = hosted
        self._worker = worker
        self._world = worker.world
        self._tasks: dict[int, Task] = {}

    def __contains__(self, act: Activation) -> bool:
        return act.number in self._tasks

    def idle(self) -> bool:
        """Whether all tasks wait for tools that run elsewhere."""
        return all(task.hear is not None and _waits_elsewhere(task.act) for task in self._tasks.values())

    def spawn(self, act: Activation, committed: "Ticket | None") -> None:
        task = self._tasks[act.number] = Task(act)

        def begin(held: bool) -> None:
            if task.cancelled:
                return
            if held:
                self._worker.after(self._world.chance.random() * 0.01, self._run, task)
            else:
                self._done(task)

        if committed is None:
            begin(True)
        else:
            committed.then(begin)

    def cancel(self, number: int) -> None:
        if task := self._tasks.get(number):
            task.cancelled = True
            self._done(task)

    def tell(self, caller: Activation) -> None:
        task = self._tasks.get(caller.number)
        if task is not None and task.hear is not None:
            task.hear()

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancelled = True

    def _done(self, task: Task) -> None:
        if self._tasks.get(task.act.number) is task:
            del self._tasks[task.act.number]
        self._hosted.wake()

    # What the kinds of blocks do

    def _run(self, task: Task) -> None:
        if task.cancelled:
            return
        act, row, database = task.act, self._hosted.row, self._world.database
        if needs_review(act):
            self._insist(task, lambda: database.ask(row.id, act.number), lambda: self._suspend(task))
        elif act.node.is_agent:
            self._insist(task, lambda: self._world.start_below(row, act.number), lambda: self._done(task))
        elif act.node.spec.id == CALLER:
            self._call(task, [], set())
        else:
            self._execute(task)

    def _insist(self, task: Task, statement: Callable[[], object], then: Callable[[], None]) -> None:
        """A statement that may be repeated, until there is an answer."""
        if not task.cancelled:
            again = (self._insist, task, statement, then)
            self._worker.ask(statement, lambda _: None if task.cancelled else then(), again)

    def _suspend(self, task: Task) -> None:
        self._hosted.post(NodeSuspended(task.act.number, self._hosted.now()))
        self._done(task)

    def _call(self, task: Task, results: list[Any], taken: set[int]) -> None:
        """The next call of a tool, unless an earlier attempt has made it; its outputs when there is none left."""
        act = task.act
        if len(results) == CALLS:
            self._emit(task, [("out", sum(results))], None)
            return
        assert act.data is not None
        node_id, given = act.node.tools[0].node_id, {"a": act.data["add"] + len(results)}
        self._find_or_call(task, node_id, given, results, taken)

    def _find_or_call(self, task: Task, node_id: str, given: Any, results: list[Any], taken: set[int]) -> None:
        found = self._on_record(task.act, taken, given)
        if found is None:
            self._hosted.post(ToolCalled(task.act.number, self._hosted.now(), node_id, given))

        def hear() -> None:
            nonlocal found
            found = found or self._on_record(task.act, taken, given)
            if found is None or found.status not in FINAL or task.cancelled:
                return
            task.hear = None
            values = found.outputs.get("out", [0]) if found.status is Status.COMPLETED else [0]
            self._worker.after(0.001, self._call, task, [*results, values[0]], taken)

        task.hear = hear
        hear()

    def _on_record(self, caller: Activation, taken: set[int], given: Any) -> Activation | None:
        if not self._world.rules.recorded_calls_are_known and not taken and self._hosted.row.fence > 1:
            taken.update(act.number for act in caller.calls)
        for act in caller.calls:
            if act.number not in taken and act.received == given:
                taken.add(act.number)
                return act
        return None

    def _execute(self, task: Task) -> None:
        act = task.act
        assert act.data is not None
        self._world.witness.executed(self._hosted.row, act)
        self._emit(task, *emitted(act.node.spec.id, act.data))

    def _emit(self, task: Task, outputs: list[tuple[str, Any]], error: str | None) -> None:
        act = task.act
        known = act.emitted() if self._world.rules.recorded_outputs_are_known else 0
        messages: list[Message] = [NodeYielded(act.number, 0, [pair]) for pair in outputs[known:]]
        self._go_on(task, deque([*messages, NodeEnded(act.number, 0, [], error)]))

    def _go_on(self, task: Task, coming: deque[Message]) -> None:
        self._worker.after(self._world.chance.expovariate(5), self._report, task, coming)

    def _report(self, task: Task, coming: deque[Message]) -> None:
        """The next thing that a block does: an output, or its end."""
        if task.cancelled:
            return
        self._hosted.post(replace(coming.popleft(), at=self._hosted.now()))  # type: ignore[type-var]
        if coming:
            self._go_on(task, coming)
        else:
            self._done(task)


def needs_review(act: Activation) -> bool:
    return act.node.spec.id in (REVIEW, SENSITIVE) and not act.reviewed


def _waits_elsewhere(caller: Activation) -> bool:
    unanswered = [act for act in caller.calls if act.status not in FINAL]
    return bool(unanswered) and all(act.node.spec.id == AGENT or act.status is Status.REVIEW for act in unanswered)
