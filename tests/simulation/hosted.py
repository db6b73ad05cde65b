"""A hosted run in virtual time: the rules of `runs/hosted.py`, line by line where time and tasks allow it.

Keep the two alike: what is recorded when, what waits for a commit, and what a recovery does is copied from there.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from agentplat.engine.activation import Activation, CancelNode, Command, FinishRun, StartNode
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import (
    Message,
    NodeEnded,
    NodeStarted,
    NodeTerminated,
    NodeYielded,
    RunAborted,
    RunBegan,
    RunEnded,
)
from agentplat.engine.state import Status
from tests.simulation.database import Row, Write
from tests.simulation.graphs import emitted

if TYPE_CHECKING:
    from tests.simulation.worker import Ticket, Worker

MAX_AHEAD = 2
MOST_PER_SLICE = 4
INTERRUPTED = "interrupted"


class Task:
    """A block that runs beside the loop."""

    def __init__(self) -> None:
        self.cancelled = False


class Hosted:
    def __init__(self, worker: "Worker", row: Row, machine: RunMachine, recorded: int) -> None:
        self.row = row
        self._worker = worker
        self._machine = machine
        self._next_seq = recorded + 1
        self._messages: list[Message] = []
        self._inbox: deque[Message] = deque()
        self._ready: deque[Activation] = deque()
        self._starting: list[Activation] = []
        self._ahead: deque[Ticket] = deque()
        self._tasks: dict[int, Task] = {}
        self._stop_requested = row.stop_requested
        self._lost = False
        self._ending: Status | None = None
        self._resumed = False
        # Waiting for the journal: whoever wakes it meanwhile is heard afterwards.
        self._blocked = False
        self._turning = False
        self._woken = False
        self.gone = False

    def stop(self) -> None:
        self._stop_requested = True
        self.wake()

    def lose(self) -> None:
        self._lost = True
        self.wake()

    def wake(self) -> None:
        self._woken = True
        if not self._turning and not self._blocked:
            self._turning = True
            self._worker.after(self._worker.world.chance.random() * 0.002, self._turn)

    def leave(self) -> None:
        """The `finally` of `drive`, and what the driver does afterwards."""
        self.gone = True
        for task in self._tasks.values():
            task.cancelled = True
        self._worker.let_go(self)

    # The loop's parts

    def _turn(self) -> None:
        self._turning = False
        if self.gone or self._blocked:
            return
        self._woken = False
        if not self._resumed:
            self._resumed = True
            self._resume()
        elif self._lost:
            self.leave()
            return
        if self._ending is None:
            if not self._machine.aborted and self._stop_requested:
                self._record(RunAborted(self._now()))
            self._work_for_a_slice()
        if self._ending is not None:
            self._finish()
            return
        self._flush()
        self._rest()

    def _resume(self) -> None:
        if self._machine.status is Status.QUEUED:
            self._record(RunBegan(self._now()))
            return
        interrupted = self._machine.running()
        self._obey(self._machine.pending())
        for act in interrupted:
            spec = act.node.spec
            if self._machine.aborted:
                self._record(NodeTerminated(act.number, self._now()))
            elif spec.pure or spec.repeatable or not self._worker.world.rules.interrupted_effects_fail:
                self._spawn(act, None)
            else:
                self._record(NodeEnded(act.number, self._now(), [], INTERRUPTED))

    def _work_for_a_slice(self) -> None:
        left = self._worker.world.chance.randint(1, MOST_PER_SLICE)
        while self._inbox or self._ready:
            while self._inbox:
                self._take(self._inbox.popleft())
            if self._ready:
                self._run_inline(self._ready.popleft())
            left -= 1
            if not left:
                return

    def _rest(self) -> None:
        self._blocked = False
        while self._ahead and (len(self._ahead) > MAX_AHEAD or self._ahead[0].done):
            if not self._ahead[0].done:
                self._blocked = True
                self._ahead[0].then(lambda _: None if self.gone else self._rest())
                return
            self._lost |= not self._ahead.popleft().held
        if self._ready or self._inbox or self._lost or self._woken:
            self.wake()

    # Messages and commands

    def _take(self, message: Any) -> None:
        act = self._machine.activations[message.activation - 1]
        if act.status is Status.RUNNING:
            self._record(message)

    def _record(self, message: Message) -> None:
        commands = self._machine.feed(message)
        self._messages.append(message)
        if commands:
            self._obey(commands)

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is StartNode:
                act = command.activation
                if act.node.spec.inline:
                    self._ready.append(act)
                else:
                    self._record(NodeStarted(act.number, self._now()))
                    self._starting.append(act)
            elif type(command) is CancelNode:
                number = command.activation.number
                if task := self._tasks.get(number):
                    task.cancelled = True
                self._record(NodeTerminated(number, self._now()))
            elif type(command) is FinishRun:
                self._ending = command.status

    def _flush(self) -> None:
        if not self._messages:
            return
        ticket = self._submit(None)
        self._ahead.append(ticket)
        for act in self._starting:
            if act.status is Status.RUNNING:
                waits = not act.node.spec.pure and self._worker.world.rules.effects_wait_for_commit
                self._spawn(act, ticket if waits else None)
        self._starting.clear()

    def _submit(self, status: Status | None) -> "Ticket":
        messages, self._messages = self._messages, []
        ending = None if status is None else seen_of(self._machine)
        write = Write(self.row.id, self._next_seq, self.row.fence, messages, status, ending)
        self._next_seq += len(messages)
        return self._worker.submit(write)

    def _finish(self) -> None:
        self._record(RunEnded(self._now()))
        self._blocked = True
        self._submit(self._machine.status).then(lambda _: self.leave())

    # Blocks

    def _run_inline(self, act: Activation) -> None:
        if act.status is not Status.QUEUED:
            return
        assert act.data is not None
        outputs, error = emitted(act.node.spec.id, act.data)
        self._record(NodeEnded(act.number, self._now(), outputs, error, self._now()))

    def _spawn(self, act: Activation, committed: "Ticket | None") -> None:
        task = self._tasks[act.number] = Task()

        def begin(held: bool) -> None:
            if task.cancelled:
                return
            if held:
                self._worker.after(self._worker.world.chance.random() * 0.01, self._run_task, act, task)
            else:
                self._task_done(act.number)

        if committed is None:
            begin(True)
        else:
            committed.then(begin)

    def _task_done(self, number: int) -> None:
        self._tasks.pop(number, None)
        self.wake()

    def _run_task(self, act: Activation, task: Task) -> None:
        if task.cancelled:
            return
        world = self._worker.world
        known = sum(len(values) for values in act.outputs.values()) if world.rules.recorded_outputs_are_known else 0
        assert act.data is not None
        world.witness.executed(self.row, act)
        outputs, error = emitted(act.node.spec.id, act.data)
        messages: list[Message] = [NodeYielded(act.number, 0, [pair]) for pair in outputs[known:]]
        self._go_on(task, act.number, deque([*messages, NodeEnded(act.number, 0, [], error)]))

    def _go_on(self, task: Task, number: int, coming: deque[Message]) -> None:
        self._worker.after(self._worker.world.chance.expovariate(5), self._report, task, number, coming)

    def _report(self, task: Task, number: int, coming: deque[Message]) -> None:
        """The next thing that a block does: an output, or its end."""
        if task.cancelled:
            return
        self._post(replace(coming.popleft(), at=self._now()))
        if coming:
            self._go_on(task, number, coming)
        else:
            self._task_done(number)

    def _post(self, message: Message) -> None:
        self._inbox.append(message)
        self.wake()

    def _now(self) -> int:
        return int(self._worker.world.now * 1e6)


def seen_of(machine: RunMachine) -> Any:
    """What a final run leaves behind."""
    return (
        machine.status,
        machine.node_count,
        machine.error_count,
        {name: list(values) for name, values in machine.outputs.items()},
        [
            (act.number, act.node.id, act.status, act.data, {name: list(all_) for name, all_ in act.outputs.items()})
            for act in machine.activations
        ],
    )
