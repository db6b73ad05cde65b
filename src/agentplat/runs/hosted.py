"""One run on this worker, from its claim to its end. The only place where a run has effects.

The loop takes what has happened (outcomes of blocks, mail, a wish to stop, the deadline), feeds it to the machine, does
what the machine asks for, and hands the messages to the journal writer.

- Pure inline blocks run right here, one after another, in slices of a few milliseconds: no task, no waiting for the
  journal, since running them again after a crash can't be noticed.
- Other pure blocks get a task at once.
- Nodes with effects get a task that first waits until their start is committed; so do isolated ones, whose task only
  has others execute them (see `nodejobs`).

A run that has nothing to do but wait for sub-runs, isolated nodes or people is let go: it holds no memory and no
place here.
"""

import asyncio
from collections import deque
from contextlib import suppress
from datetime import UTC
from time import perf_counter

from agentplat.credits import service as credits
from agentplat.credits.errors import InsufficientBalance
from agentplat.credits.models import Shortage
from agentplat.engine.activation import Activation, AnswerCall, CancelNode, Command, FinishRun, StartNode, SuspendRun
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import (
    MailTaken,
    Message,
    NodeEnded,
    NodeRetried,
    NodeStarted,
    NodeSuspended,
    NodeTerminated,
    RunAborted,
    RunBegan,
    RunEnded,
    RunSuspended,
    encode,
)
from agentplat.engine.state import Status
from agentplat.runs import mail, metrics, queries, reading, subruns, view
from agentplat.runs.charging import ChargedStart
from agentplat.runs.commits import Ending, Write, spilled
from agentplat.runs.ending import ending_of, letter_of_end, tell_of_shortage
from agentplat.runs.journal import JournalWriter
from agentplat.runs.letters import Addressed, Letter, ReviewAnswered, SubRunEnded, SubRunOutput
from agentplat.runs.models import RunRow
from agentplat.runs.nodes import NodeTasks, now_us, runs_elsewhere
from agentplat.runs.recording import Recorded

# How long inline blocks may keep the event loop before other runs get their turn.
SLICE_SECONDS = 0.002
# How many uncommitted journal rows a run may be ahead of the database.
MAX_AHEAD = 16
# How long a run that only waits for mail stays here, in case the mail comes soon.
LINGER_SECONDS = 1.0


class LeaseLost(Exception):
    """Another worker has this run now. Everything since the last commit is void."""


class HostedRun:
    """A claimed run. `drive` returns when the run is final or was let go; LeaseLost says it is somebody else's."""

    def __init__(
        self, row: RunRow, machine: RunMachine, recorded: int, writer: JournalWriter, max_activations: int
    ) -> None:
        self.row = row
        self._machine = machine
        self._next_seq = recorded + 1
        self._writer = writer
        self._max_activations = max_activations
        self._deadline = view.microseconds(row.deadline)
        self._run_day = row.created_at.astimezone(UTC).date()
        self._nodes = NodeTasks(row, view.decode_request(row.request), self._post)
        self._messages: list[Message] = []
        self._letters: list[Addressed] = []  # to the parent run
        self._inbox: deque[Message] = deque()
        self._ready: deque[Activation] = deque()
        self._starting: list[Activation] = []  # tasks whose start is not yet handed to the journal
        self._unpaid: list[Activation] = []
        self._shortage: Shortage | None = None
        self._orphans: list[Activation] = []  # agent nodes that ended before their sub-runs
        self._ahead: deque[asyncio.Future[int]] = deque()
        self._recorded = Recorded()
        self._stored: set[str] = set()  # digests of values that were handed to the journal
        self._wake = asyncio.Event()
        self._stop_requested = row.stop_requested_at is not None
        self._mail_due = recorded > 0
        self._idle_at = 0  # the number of the next message when there was nothing left to do
        self._idle_until = 0.0
        self._suspending = False
        self.expects_mail = recorded > 0
        self._lost = False
        self._ending: Status | None = None

    def stop(self) -> None:
        """Have the run stopped. Returns at once."""
        self._stop_requested = True
        self._wake.set()

    def look_for_mail(self) -> None:
        """There may be mail. Returns at once."""
        self._mail_due = True
        self._wake.set()

    def lose(self) -> None:
        """The lease is gone: nothing may be done for this run any more."""
        self._lost = True
        self._wake.set()

    async def drive(self) -> bool:
        """True when the run is final, False when it was let go to wait for mail."""
        try:
            await self._resume()
            while self._ending is None:
                self._check_limits()
                self._work_for_a_slice()
                if self._ending is not None:
                    break
                self._flush()
                if self._unpaid:
                    await self._pay()
                    continue
                if self._waits_for_mail() and await self._let_go():
                    return False
                await self._rest()
            await self._finish()
            return True
        finally:
            await self._nodes.close()

    # The loop's parts

    async def _resume(self) -> None:
        """Begin, or go on where the journal ends: nodes that were running are run again only if nobody can tell."""
        interrupted = self._machine.running()
        if self._machine.status in (Status.QUEUED, Status.REVIEW) and not self._stop_requested:
            if self._machine.status is Status.QUEUED and not await self._has_credits():
                self._abort("You have no credits left to run an agent.")
            else:
                self._record(RunBegan(now_us()))
            return
        self._obey(self._machine.pending())
        for act in interrupted:
            self.expects_mail |= runs_elsewhere(act) or self._nodes.needs_review(act)
            spec = act.node.spec
            if self._machine.aborted:
                self._record(NodeTerminated(act.number, now_us()))
            elif spec.pure or spec.repeatable or spec.isolated:
                self._nodes.spawn(act, None)
            else:
                self._record(reading.interrupted(act, now_us()))

    async def _has_credits(self) -> bool:
        return not credits.enabled() or await credits.balance(self.row.user_id) > 0

    def _work_for_a_slice(self) -> None:
        until = perf_counter() + SLICE_SECONDS
        while self._inbox or self._ready:
            while self._inbox:
                self._take(self._inbox.popleft())
            if self._ready:
                act = self._ready.popleft()
                if act.status is Status.QUEUED:  # not aborted since
                    self._record(self._nodes.run_inline(act))
            if len(self._machine.activations) > self._max_activations or perf_counter() > until:
                return

    async def _rest(self) -> None:
        """Let others work; wait for news if there is nothing to do, for the journal if it is too far behind."""
        while self._ahead and (len(self._ahead) > MAX_AHEAD or self._ahead[0].done()):
            self._lost |= not await self._ahead.popleft()
        if self._ready or self._inbox:
            await asyncio.sleep(0)
        elif self._mail_due:
            await self._take_mail()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (self._deadline - now_us()) / 1e6)):
                    await self._wake.wait()
            self._wake.clear()
        if self._lost:
            raise LeaseLost

    def _check_limits(self) -> None:
        if self._machine.aborted:
            return
        if self._stop_requested:
            self._record(RunAborted(now_us()))
        elif len(self._machine.activations) > self._max_activations:
            self._abort(f"The run was ended: it has more than {self._max_activations} node executions, the limit.")
        elif now_us() > self._deadline:
            self._abort(f"The run was ended: it was not finished by its deadline, {self.row.deadline.isoformat()}.")

    def _abort(self, error: str) -> None:
        self._record(RunAborted(now_us(), error))

    # Messages and commands

    def _post(self, message: Message | None) -> None:
        if message is not None:
            self._inbox.append(message)
        self._wake.set()

    def _take(self, message: Message) -> None:
        """A message from a task. What comes after its node was ended otherwise is dropped."""
        act = self._machine.activations[message.activation - 1]  # type: ignore[union-attr, operator]
        if act.status is Status.RUNNING:
            self._record(message)
            self._mail_due |= type(message) is NodeSuspended  # whoever was asked may have answered before this

    def _record(self, message: Message) -> None:
        commands = self._machine.feed(message)
        self._messages.append(message)
        if type(message) is NodeEnded and self.row.parent_id is not None:
            self._report(self._machine.activations[message.activation - 1])
        if commands:
            self._obey(commands)

    def _report(self, act: Activation) -> None:
        """Tell the parent run of an output."""
        parent_id, activation, values = self.row.parent_id, self.row.parent_activation, act.outputs.get("output")
        if parent_id and activation and values and act.node.is_output and act.data is not None:
            self._letters.append(Addressed(parent_id, SubRunOutput(activation, str(act.data.get("name")), values)))

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is StartNode:
                self._start(command.activation)
            elif type(command) is CancelNode:
                self._cancel(command.activation)
            elif type(command) is AnswerCall:
                self._nodes.tell(command.activation)
            elif type(command) is SuspendRun:
                self._suspending = True
            elif type(command) is FinishRun:
                self._ending = command.status

    def _start(self, act: Activation) -> None:
        if act.node.spec.costs and not act.reviewed and credits.cost_of(act.node.spec.costs, act.data or {}).amount:
            self._unpaid.append(act)
            return
        if act.node.spec.inline and act.node.policy is None and not self._nodes.needs_review(act):
            self._ready.append(act)
            return
        self.expects_mail |= runs_elsewhere(act) or self._nodes.needs_review(act)
        self._record(NodeStarted(act.number, now_us()))
        self._starting.append(act)

    def _cancel(self, act: Activation) -> None:
        self._nodes.cancel(act.number)
        if act.node.is_agent:
            self._orphans.append(act)
        self._record(NodeTerminated(act.number, now_us()))

    def _flush(self) -> None:
        """Hand all messages to the journal as one row, and let the tasks go whose start it records."""
        if not self._messages:
            return
        ticket = self._submit(None)
        self._ahead.append(ticket)
        for act in self._starting:
            if act.status is Status.RUNNING:  # not aborted since
                at_once = act.node.spec.pure and not act.node.spec.isolated and not self._nodes.needs_review(act)
                self._nodes.spawn(act, None if at_once else ticket)
        self._starting.clear()

    def _submit(self, ending: Ending | None) -> asyncio.Future[int]:
        write = spilled(self._row_of(self._messages, ending), self._stored)
        ticket = self._writer.submit(write, self.row.user_id, self.row.graph_id)
        self._recorded.note(self._messages, ticket)
        self._messages, self._letters = [], []
        return ticket

    def _row_of(self, messages: list[Message], ending: Ending | None) -> Write:
        seq, self._next_seq = self._next_seq, self._next_seq + len(messages)
        return Write(
            run_id=self.row.id,
            run_day=self._run_day,
            seq=seq,
            fence=self.row.fence,
            body=encode(messages),
            ending=ending,
            letters=self._letters,
        )

    async def _pay(self) -> None:
        """Start what costs something: each start is one row with its payment. Nothing else is recorded meanwhile, so
        that a start that can't be paid leaves no hole."""
        while self._ahead:
            if not await self._ahead.popleft():
                raise LeaseLost
        unpaid, self._unpaid = self._unpaid, []
        for act in unpaid:
            if act.status is not Status.QUEUED:
                continue
            spec, row = act.node.spec, self.row
            cost = credits.cost_of(spec.costs, act.data or {})
            key = view.activation_id(row.id, act.number)
            charge = credits.node_charge(cost, row.id, row.graph_id, key, act.node.id, spec.id, spec.name)
            message = NodeStarted(act.number, now_us(), cost.amount)
            start = ChargedStart(write=self._row_of([message], None), charges=[charge])
            outcome = await self._writer.charge(start, row.user_id, row.graph_id)
            if not outcome.held:
                raise LeaseLost
            if outcome.shortage is not None:
                self._next_seq -= 1
                self._shortage = outcome.shortage
                self._record(RunAborted(now_us(), str(InsufficientBalance(outcome.shortage)), act.number))
                return
            self._machine.feed(message)
            self.expects_mail |= runs_elsewhere(act) or self._nodes.needs_review(act)
            self._nodes.spawn(act, None)

    async def _finish(self) -> None:
        """Record the end together with what the run leaves behind, in one transaction."""
        self._record(RunEnded(now_us()))
        self._letters += letter_of_end(self.row, self._machine)
        recorded = self._recorded.times(self._messages, now_us())
        if not await self._submit(ending_of(self.row, self._machine, recorded)):
            raise LeaseLost
        metrics.run_ended(self._machine, view.timings(self.row, self._machine), recorded)
        for act in self._orphans:
            await subruns.stop(self.row, act)
        if self.expects_mail:
            await mail.close_mailboxes([self.row.id])
        if self._shortage is not None:
            await tell_of_shortage(self.row, self._shortage)

    # Mail

    async def _take_mail(self) -> bool:
        """Record what the letters say, and in the same journal row that they were taken."""
        self._mail_due = False
        letters = await mail.read(self.row.id, self._machine.mail_taken)
        if any(isinstance(letter, SubRunEnded) and letter.status is Status.TERMINATED for _, letter in letters):
            # Who stops a run stops those below it, whose ends may come before the news: they complete nothing then.
            self._stop_requested |= await queries.is_stop_requested(self.row.id)
            if self._stop_requested:
                return True
        for number, letter in letters:
            if self._is_early(letter):
                break
            self._suspending = False  # the machine says so again if it is still so after this letter
            self._read(letter)
            self._record(MailTaken(number, now_us()))
        return bool(letters)

    def _is_early(self, letter: Letter) -> bool:
        """Whether it answers what is not on record as asked: it and those behind it are left until that is, or until
        it turns out that somebody else has this run, who knows more of it."""
        if letter.activation > len(self._machine.activations):
            return True
        answers = isinstance(letter, ReviewAnswered)
        return answers and self._machine.activations[letter.activation - 1].status is Status.RUNNING

    def _read(self, letter: Letter) -> None:
        act = self._machine.activations[letter.activation - 1]
        if isinstance(letter, SubRunOutput) and letter.name == "error" and act.status is Status.RUNNING:
            self._orphans.append(act)
        for message in reading.messages_of(act, letter, now_us()):
            self._record(message)
            if type(message) is NodeRetried:
                self._nodes.try_again(act)

    def _waits_for_mail(self) -> bool:
        """Whether only a sub-run, an isolated block or a person can make the run go on."""
        if not self._nodes.idle() or self._ready or self._inbox or self._mail_due or self._stop_requested:
            return False
        return self._suspending or all(runs_elsewhere(act) or act in self._nodes for act in self._machine.running())

    async def _let_go(self) -> bool:
        """Give the run's place to others until there is mail. False if there is some already."""
        while self._ahead:
            if not await self._ahead.popleft():
                raise LeaseLost
        if not self._suspending:
            if self._idle_at != self._next_seq:
                self._idle_at, self._idle_until = self._next_seq, perf_counter() + LINGER_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._idle_until - perf_counter())):
                    await self._wake.wait()
            if self._wake.is_set() or self._lost:
                return False
            return await mail.park(self.row.id, self.row.fence, self._machine.mail_taken)
        if await self._take_mail():
            return False
        at = now_us()
        write = self._row_of([RunSuspended(at)], None)
        if await self._writer.suspend(write, self._machine.mail_taken, self.row.user_id, self.row.graph_id):
            return True
        self._next_seq -= 1
        self._mail_due = True
        return False
