"""One run on this worker, from its claim to its end. The only place where a run has effects.

The loop takes what has happened (outcomes of blocks, a wish to stop, the deadline), feeds it to the machine, does what
the machine asks for, and hands the messages to the journal writer.

- Pure inline blocks run right here, one after another, in slices of a few milliseconds: no task, no waiting for the
  journal, since running them again after a crash can't be noticed.
- Other pure blocks get a task at once.
- Blocks with effects get a task that first waits until their start is committed.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from functools import partial
from time import perf_counter, time_ns
from typing import Any

import msgspec

from agentplat.blocks import service as blocks
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
    encode,
)
from agentplat.engine.state import Status
from agentplat.infra.telemetry import get_logger
from agentplat.integrations import service as integrations
from agentplat.runs import view
from agentplat.runs.ending import ending_of
from agentplat.runs.journal import JournalWriter
from agentplat.runs.models import RunRow
from agentplat.runs.queries import Ending, Write
from agentplat.sdk import BlockSpec, Context
from agentplat.sdk.secrets import Credentials

# How long inline blocks may keep the event loop before other runs get their turn.
SLICE_SECONDS = 0.002
# How many uncommitted journal rows a run may be ahead of the database.
MAX_AHEAD = 16
INTERRUPTED = "interrupted: the worker stopped before this node's outcome was recorded"

_log = get_logger(__name__)


class LeaseLost(Exception):
    """Another worker has this run now. Everything since the last commit is void."""


def now_us() -> int:
    return time_ns() // 1000


class HostedRun:
    """A claimed run. `drive` returns when the run is final, and raises LeaseLost when it is somebody else's."""

    def __init__(
        self,
        row: RunRow,
        machine: RunMachine,
        recorded: int,
        writer: JournalWriter,
        max_activations: int,
    ) -> None:
        self.row = row
        self._machine = machine
        self._next_seq = recorded + 1
        self._writer = writer
        self._max_activations = max_activations
        self._deadline = view.microseconds(row.deadline)
        self._run_day = row.created_at.astimezone(UTC).date()
        self._messages: list[Message] = []
        self._inbox: deque[Message] = deque()
        self._ready: deque[Activation] = deque()
        self._starting: list[Activation] = []  # effects whose start is not yet handed to the journal
        self._ahead: deque[asyncio.Future[bool]] = deque()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._stop_requested = row.stop_requested_at is not None
        self._lost = False
        self._ending: Status | None = None

    def stop(self) -> None:
        """Have the run stopped. Returns at once."""
        self._stop_requested = True
        self._wake.set()

    def lose(self) -> None:
        """The lease is gone: nothing may be done for this run any more."""
        self._lost = True
        self._wake.set()

    async def drive(self) -> None:
        try:
            self._resume()
            while self._ending is None:
                self._check_limits()
                self._work_for_a_slice()
                if self._ending is not None:
                    break
                self._flush()
                await self._rest()
            await self._finish()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # The loop's parts

    def _resume(self) -> None:
        """Begin, or go on where the journal ends: nodes that were running are run again only if nobody can tell."""
        if self._machine.status is Status.QUEUED:
            self._record(RunBegan(now_us()))
            return
        interrupted = self._machine.running()
        self._obey(self._machine.pending())
        for act in interrupted:
            spec = act.node.spec
            if self._machine.aborted:
                self._record(NodeTerminated(act.number, now_us()))
            elif spec.pure or spec.repeatable:
                self._spawn(act, None)
            else:
                error = blocks.failure_text(spec.name, spec.id, INTERRUPTED)
                self._record(NodeEnded(act.number, now_us(), [], error))

    def _work_for_a_slice(self) -> None:
        until = perf_counter() + SLICE_SECONDS
        while self._inbox or self._ready:
            while self._inbox:
                self._take(self._inbox.popleft())
            if self._ready:
                self._run_inline(self._ready.popleft())
            if len(self._machine.activations) > self._max_activations or perf_counter() > until:
                return

    async def _rest(self) -> None:
        """Let others work; wait for news if there is nothing to do, for the journal if it is too far behind."""
        while self._ahead and (len(self._ahead) > MAX_AHEAD or self._ahead[0].done()):
            self._lost |= not await self._ahead.popleft()
        if self._ready or self._inbox:
            await asyncio.sleep(0)
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

    def _take(self, message: Message) -> None:
        """A message from a task. What comes after its node was ended otherwise is dropped."""
        act = self._machine.activations[message.activation - 1]  # type: ignore[union-attr]
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
                    self._record(NodeStarted(act.number, now_us()))
                    self._starting.append(act)
            elif type(command) is CancelNode:
                number = command.activation.number
                if task := self._tasks.get(number):
                    task.cancel()
                self._record(NodeTerminated(number, now_us()))
            elif type(command) is FinishRun:
                self._ending = command.status

    def _flush(self) -> None:
        """Hand all messages to the journal as one row, and let the effects go whose start it records."""
        if not self._messages:
            return
        ticket = self._submit(None)
        self._ahead.append(ticket)
        for act in self._starting:
            if act.status is Status.RUNNING:  # not aborted since
                self._spawn(act, None if act.node.spec.pure else ticket)
        self._starting.clear()

    def _submit(self, ending: Ending | None) -> asyncio.Future[bool]:
        messages, self._messages = self._messages, []
        write = Write(
            run_id=self.row.id,
            run_day=self._run_day,
            seq=self._next_seq,
            fence=self.row.fence,
            body=encode(messages),
            ending=ending,
        )
        self._next_seq += len(messages)
        return self._writer.submit(write, self.row.user_id, self.row.graph_id)

    async def _finish(self) -> None:
        """Record the end together with what the run leaves behind, in one transaction."""
        self._record(RunEnded(now_us()))
        if not await self._submit(ending_of(self.row, self._machine)):
            raise LeaseLost

    # Blocks

    def _run_inline(self, act: Activation) -> None:
        if act.status is not Status.QUEUED:
            return  # the run was aborted meanwhile
        spec = act.node.spec
        block = blocks.get(spec.id)
        started = now_us()
        assert block is not None  # the plan was compiled from the same registry
        assert act.data is not None
        outcome = blocks.run_inline(block(), act.data, self._context(act, {}))
        self._record(NodeEnded(act.number, now_us(), outcome.outputs, outcome.error, started))

    def _spawn(self, act: Activation, committed: asyncio.Future[bool] | None) -> None:
        task = asyncio.create_task(self._run_task(act, committed), name=f"node {act.node.id}")
        self._tasks[act.number] = task
        task.add_done_callback(partial(self._task_done, act.number))

    def _task_done(self, number: int, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)
        self._wake.set()

    async def _run_task(self, act: Activation, committed: asyncio.Future[bool] | None) -> None:
        if committed is not None and not await asyncio.shield(committed):
            return  # the lease is lost; the loop hears of it as well
        spec = act.node.spec
        # After a crash: what the first attempt has recorded is not recorded again.
        known = sum(len(values) for values in act.outputs.values())
        context: Context | None = None
        error: str | None = None
        try:
            block = blocks.get(spec.id)
            assert block is not None
            assert act.data is not None
            context = self._context(act, await self._credentials(spec, act.data))
            async for name, value in blocks.stream(block(), act.data, context):
                if known:
                    known -= 1
                else:
                    self._post(NodeYielded(act.number, now_us(), [(name, value)]))
        except blocks.BlockFailure as failure:
            error = str(failure)
        except integrations.CredentialsUnavailable as failure:
            error = blocks.failure_text(spec.name, spec.id, str(failure))
        except Exception as failure:
            # A defect of ours must end this node, not leave the run waiting for it for ever.
            _log.exception("node_failed_unexpectedly", run_id=self.row.id, node_id=act.node.id)
            error = blocks.failure_text(spec.name, spec.id, f"internal error ({type(failure).__name__})")
        stats = context.recorded if context is not None else None
        self._post(NodeEnded(act.number, now_us(), [], error, None, _as_dict(stats)))

    async def _credentials(self, spec: BlockSpec, data: dict[str, Any]) -> dict[str, Credentials]:
        """The credentials that the node's input refers to. Shared by any number of nodes at once: nothing is locked."""
        references = {field: data.get(field) for field in spec.credentials}
        return {
            field: await integrations.acquire(self.row.user_id, str(reference["id"]))
            for field, reference in references.items()
            if isinstance(reference, dict) and "id" in reference
        }

    def _post(self, message: Message) -> None:
        self._inbox.append(message)
        self._wake.set()

    def _context(self, act: Activation, credentials: Mapping[str, Credentials]) -> Context:
        row = self.row
        node_exec_id = view.activation_id(row.id, act.number)
        return blocks.context(
            row.user_id,
            row.id,
            graph_id=row.graph_id,
            graph_version=row.graph_version,
            node_id=act.node.id,
            node_exec_id=node_exec_id,
            idempotency_key=node_exec_id,
            credentials=credentials,
        )


def _as_dict(stats: Any) -> dict[str, Any] | None:
    if stats is None:
        return None
    figures: dict[str, Any] = msgspec.to_builtins(stats)
    return {name: value for name, value in figures.items() if value}
