"""A hosted run in virtual time: the rules of `runs/hosted.py`, line by line where time and tasks allow it.

Keep the two alike: what is recorded when, what waits for a commit, and what a recovery does is copied from there.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentplat.engine.activation import Activation, AnswerCall, CancelNode, Command, FinishRun, StartNode, SuspendRun
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import (
    MailTaken,
    Message,
    NodeEnded,
    NodeStarted,
    NodeSuspended,
    NodeTerminated,
    RunAborted,
    RunBegan,
    RunEnded,
    RunSuspended,
)
from agentplat.engine.state import Status
from agentplat.runs.letters import Letter, ReviewAnswered, SubRunEnded, SubRunOutput
from agentplat.runs.reading import messages_of
from tests.simulation.database import Addressed, Charged, Row, Write
from tests.simulation.graphs import PAID, emitted
from tests.simulation.tasks import Tasks, needs_review

if TYPE_CHECKING:
    from tests.simulation.worker import Ticket, Worker

MAX_AHEAD = 2
MOST_PER_SLICE = 4
INTERRUPTED = "interrupted"
SHORT = "there is nothing left to pay with"


class Hosted:
    def __init__(self, worker: "Worker", row: Row, machine: RunMachine, recorded: int) -> None:
        self.row = row
        self.expects_mail = False
        self._worker = worker
        self._machine = machine
        self._next_seq = recorded + 1
        self._tasks = Tasks(self, worker)
        self._messages: list[Message] = []
        self._letters: list[Addressed] = []
        self._inbox: deque[Message] = deque()
        self._ready: deque[Activation] = deque()
        self._starting: list[Activation] = []
        self._unpaid: list[Activation] = []
        self._orphans: list[Activation] = []
        self._ahead: deque[Ticket] = deque()
        self._stop_requested = row.stop_requested
        self._mail_due = recorded > 0
        self._suspending = False
        self._lost = False
        self._ending: Status | None = None
        self._resumed = False
        # Waiting for the database: whoever wakes it meanwhile is heard afterwards.
        self._blocked = False
        self._turning = False
        self._woken = False
        self.gone = False

    def stop(self) -> None:
        self._stop_requested = True
        self.wake()

    def look_for_mail(self) -> None:
        self._mail_due = True
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
        self._tasks.close()
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
                self._record(RunAborted(self.now()))
            self._work_for_a_slice()
        if self._ending is not None:
            self._finish()
            return
        self._flush()
        if self._unpaid:
            self._when_written(self._pay)
        elif self._waits_for_mail():
            self._when_written(self._let_go)
        else:
            self._rest()

    def _resume(self) -> None:
        interrupted = self._machine.running()
        if self._machine.status in (Status.QUEUED, Status.REVIEW) and not self._stop_requested:
            self._record(RunBegan(self.now()))
            return
        self._obey(self._machine.pending())
        for act in interrupted:
            self.expects_mail |= act.node.is_agent or needs_review(act)
            spec = act.node.spec
            if self._machine.aborted:
                self._record(NodeTerminated(act.number, self.now()))
            elif spec.pure or spec.repeatable or not self._worker.world.rules.interrupted_effects_fail:
                self._tasks.spawn(act, None)
            else:
                self._record(NodeEnded(act.number, self.now(), [], INTERRUPTED))

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
        if self._ready or self._inbox or self._lost:
            self.wake()
        elif self._mail_due:
            self._blocked = True
            self._take_mail(lambda _: self._unblock())
        elif self._woken:
            self.wake()

    def _when_written(self, then: Callable[[], None]) -> None:
        """Go on when all rows are written; leave if one could not be."""
        self._blocked = True
        while self._ahead:
            if not self._ahead[0].done:
                self._ahead[0].then(lambda _: None if self.gone else self._when_written(then))
                return
            if not self._ahead.popleft().held:
                self.leave()
                return
        then()

    def _unblock(self) -> None:
        self._blocked = False
        self.wake()

    def _ask(self, statement: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        """A statement that the loop itself waits for. Without an answer the run is set aside."""
        self._worker.ask(
            statement,
            lambda found: None if self.gone else answer(found),
            (lambda: None if self.gone else self.leave(),),
        )

    # Messages and commands

    def post(self, message: Message) -> None:
        self._inbox.append(message)
        self.wake()

    def _take(self, message: Any) -> None:
        act = self._machine.activations[message.activation - 1]
        if act.status is Status.RUNNING:
            self._record(message)
            self._mail_due |= type(message) is NodeSuspended

    def _record(self, message: Message) -> None:
        commands = self._machine.feed(message)
        self._messages.append(message)
        if type(message) is NodeEnded and self.row.parent is not None:
            self._report(self._machine.activations[message.activation - 1])
        if commands:
            self._obey(commands)

    def _report(self, act: Activation) -> None:
        assert self.row.parent is not None
        run_id, activation = self.row.parent
        values = act.outputs.get("out")
        if values and act.node.is_output and act.data is not None:
            self._letters.append((run_id, SubRunOutput(activation, str(act.data.get("name")), values)))

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is StartNode:
                self._start(command.activation)
            elif type(command) is CancelNode:
                act = command.activation
                self._tasks.cancel(act.number)
                if act.node.is_agent:
                    self._orphans.append(act)
                self._record(NodeTerminated(act.number, self.now()))
            elif type(command) is AnswerCall:
                self._tasks.tell(command.activation)
            elif type(command) is SuspendRun:
                self._suspending = True
            elif type(command) is FinishRun:
                self._ending = command.status

    def _start(self, act: Activation) -> None:
        if act.node.spec.id == PAID:
            self._unpaid.append(act)
        elif act.node.spec.inline:
            self._ready.append(act)
        else:
            self.expects_mail |= act.node.is_agent or needs_review(act)
            self._record(NodeStarted(act.number, self.now()))
            self._starting.append(act)

    def _flush(self) -> None:
        if not self._messages:
            return
        ticket = self._worker.submit(self._row_of(self._messages))
        self._messages, self._letters = [], []
        self._ahead.append(ticket)
        for act in self._starting:
            if act.status is Status.RUNNING:
                waits = not act.node.spec.pure and self._worker.world.rules.effects_wait_for_commit
                self._tasks.spawn(act, ticket if waits else None)
        self._starting.clear()

    def _row_of(self, messages: list[Message], status: Status | None = None) -> Write:
        seq, self._next_seq = self._next_seq, self._next_seq + len(messages)
        ending = None if status is None else seen_of(self._machine)
        return Write(self.row.id, seq, self.row.fence, messages, status, ending, self._letters)

    def _pay(self) -> None:
        """The starts that cost something, one after the other."""
        if not self._unpaid:
            self._unblock()
            return
        act = self._unpaid.pop(0)
        if act.status is not Status.QUEUED:
            self._pay()
            return
        message = NodeStarted(act.number, self.now(), 1)
        write = self._row_of([message])
        database, owner = self._worker.world.database, self._worker.owner
        self._ask(lambda: database.charge(write, act.number, owner), lambda found: self._paid(act, message, found))

    def _paid(self, act: Activation, message: Message, charged: Charged) -> None:
        if not charged.held:
            self.leave()
        elif charged.paid:
            self._machine.feed(message)
            self._tasks.spawn(act, None)
            self._pay()
        else:
            self._next_seq -= 1
            self._unpaid.clear()
            self._record(RunAborted(self.now(), SHORT, act.number))
            self._unblock()

    def _finish(self) -> None:
        self._record(RunEnded(self.now()))
        if self.row.parent is not None:
            run_id, activation = self.row.parent
            ended = SubRunEnded(activation, self._machine.status, self._machine.node_count, self._machine.cost)
            self._letters.append((run_id, ended))
        self._blocked = True
        self._worker.submit(self._row_of(self._messages, self._machine.status)).then(self._finished)

    def _finished(self, held: bool) -> None:
        if held and not self.gone:
            world = self._worker.world
            for act in self._orphans:
                child = world.database.children.get((self.row.id, act.number))
                if child is not None:
                    self._worker.ask(lambda child=child: world.stop(child), lambda _: None)
            self._worker.ask(lambda: world.database.close_mailbox(self.row.id), lambda _: None)
        self.leave()

    # Mail

    def _take_mail(self, then: Callable[[bool], None]) -> None:
        self._mail_due = False
        known = self._machine.mail_taken if self._worker.world.rules.taken_letters_are_known else 0
        database = self._worker.world.database
        self._ask(lambda: database.read_mail(self.row.id, known), lambda letters: self._read_all(letters, then))

    def _read_all(self, letters: list[tuple[int, Letter]], then: Callable[[bool], None]) -> None:
        def look(stopping: bool) -> None:
            self._stop_requested |= stopping
            then(True) if self._stop_requested else self._read_each(letters, then)

        ends = [letter.status for _, letter in letters if isinstance(letter, SubRunEnded)]
        if Status.TERMINATED in ends and self._worker.world.rules.stops_go_before_ends:
            self._ask(lambda: self._worker.world.database.rows[self.row.id].stop_requested, look)
        else:
            self._read_each(letters, then)

    def _read_each(self, letters: list[tuple[int, Letter]], then: Callable[[bool], None]) -> None:
        one_by_one = self._worker.world.rules.letters_are_read_one_by_one
        self._suspending &= one_by_one or not letters
        for number, letter in letters:
            if self._is_early(letter):
                break
            self._suspending &= not one_by_one
            self._read(letter)
            if number > self._machine.mail_taken:
                self._record(MailTaken(number, self.now()))
        then(bool(letters))

    def _is_early(self, letter: Letter) -> bool:
        if letter.activation > len(self._machine.activations):
            return True
        answers = isinstance(letter, ReviewAnswered) and self._worker.world.rules.early_answers_wait
        return answers and self._machine.activations[letter.activation - 1].status is Status.RUNNING

    def _read(self, letter: Letter) -> None:
        act = self._machine.activations[letter.activation - 1]
        for message in messages_of(act, letter, self.now()):
            self._record(message)

    def _waits_for_mail(self) -> bool:
        if not self._tasks.idle() or self._ready or self._inbox or self._mail_due or self._stop_requested:
            return False
        running = self._machine.running()
        return self._suspending or (bool(running) and all(act.node.is_agent or act in self._tasks for act in running))

    def _let_go(self) -> None:
        database = self._worker.world.database
        if not self._suspending:
            taken = self._machine.mail_taken
            self._ask(lambda: database.park(self.row, taken), lambda parked: self.leave() if parked else self._rest())
        else:
            self._take_mail(lambda taken: self._unblock() if taken else self._suspend())

    def _suspend(self) -> None:
        write = self._row_of([RunSuspended(self.now())])
        taken, database = self._machine.mail_taken, self._worker.world.database

        def suspended(done: bool) -> None:
            if done:
                self.leave()
                return
            self._next_seq -= 1
            self._mail_due = True
            self._unblock()

        self._ask(lambda: database.suspend(self.row, taken, write), suspended)

    def _run_inline(self, act: Activation) -> None:
        if act.status is not Status.QUEUED:
            return
        assert act.data is not None
        outputs, error = emitted(act.node.spec.id, act.data)
        self._record(NodeEnded(act.number, self.now(), outputs, error, self.now()))

    def now(self) -> int:
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
