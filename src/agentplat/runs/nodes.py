"""Executing the nodes of one run that may suspend: each in a task of its own, which reports what came of it.

A node with effects first waits until its start is committed. An agent node starts its sub-run and is done: what comes
of that arrives in the run's mail. So does what comes of an isolated node, whose job is put for others to execute. A
review opens its record and suspends the node.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import random
from time import time_ns
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from agentplat.blocks import service as blocks
from agentplat.engine.activation import Activation
from agentplat.engine.messages import Message, NodeEnded, NodeRetried, NodeSuspended, NodeYielded, ToolCalled
from agentplat.engine.policy import ONCE
from agentplat.engine.state import FINAL, Status
from agentplat.files import service as files
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger
from agentplat.integrations import service as integrations
from agentplat.runs import control, mail, nodejobs, queries, reviews, subruns, view
from agentplat.runs.models import RunRequest, RunRow
from agentplat.sdk import BlockError, BlockSpec, Context, Tool
from agentplat.sdk.secrets import Credentials

T = TypeVar("T")

AUTO_APPROVED = "Auto-approved (user approved all future actions for this node)"

# How long to wait for a database that is away.
RETRY_SECONDS = 0.2

_encode = msgspec.json.Encoder().encode
_log = get_logger(__name__)


class NodeOrder(Struct, frozen=True, kw_only=True):
    """What the job of an isolated node says. `fields` are those of the block's context; `seconds` limit the attempt."""

    block_id: str
    data: dict[str, Any]
    fields: dict[str, Any]
    seconds: float


def now_us() -> int:
    return time_ns() // 1000


class NodeTasks:
    """The tasks of one run. `post` takes their messages; it is also called, with None, when a task is over."""

    def __init__(self, row: RunRow, request: RunRequest, post: Callable[[Message | None], None]) -> None:
        self._row = row
        self._request = request
        self._post = post
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._answers: dict[int, asyncio.Event] = {}
        self._callers: dict[int, Activation] = {}
        self._has_mailbox = False

    def __contains__(self, act: Activation) -> bool:
        return act.number in self._tasks

    def idle(self) -> bool:
        """Whether all tasks wait for tools that run elsewhere. They may be cancelled: a call is on record."""
        return all(number in self._callers and _waits_elsewhere(self._callers[number]) for number in self._tasks)

    def spawn(self, act: Activation, committed: asyncio.Future[int] | None, pause: float = 0.0) -> None:
        """Execute an activation, once `committed` says that its start is on record, after a pause in seconds."""
        task = asyncio.create_task(self._run(act, committed, pause), name=f"node {act.node.id}")
        self._tasks[act.number] = task
        task.add_done_callback(partial(self._done, act.number))

    def try_again(self, act: Activation) -> None:
        """Have an isolated node executed once more, of which an attempt has failed."""
        self.spawn(act, None, (act.node.policy or ONCE).pause(act.attempts, random()))

    def cancel(self, number: int) -> None:
        if task := self._tasks.get(number):
            task.cancel()

    def tell(self, caller: Activation) -> None:
        """A tool that this activation called is done."""
        if answer := self._answers.get(caller.number):
            answer.set()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def run_inline(self, act: Activation) -> NodeEnded:
        """Execute a block that can't suspend, here and now."""
        block = blocks.get(act.node.spec.id)
        started = now_us()
        assert block is not None  # the plan was compiled from the same registry
        assert act.data is not None
        outcome = blocks.run_inline(block(), act.data, self._context(act, {}))
        return NodeEnded(act.number, now_us(), outcome.outputs, outcome.error, started)

    def needs_review(self, act: Activation) -> bool:
        """Whether a person has to look at this before it goes on."""
        if act.reviewed:
            return False
        if act.node.is_review:
            return self._request.human_in_the_loop_safe_mode
        return act.node.spec.sensitive and self._request.sensitive_action_safe_mode

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(number) is not task:
            return  # the next attempt has begun
        del self._tasks[number]
        self._answers.pop(number, None)
        self._callers.pop(number, None)
        self._post(None)

    async def _run(self, act: Activation, committed: asyncio.Future[int] | None, pause: float) -> None:
        if committed is not None and not await asyncio.shield(committed):
            return  # the lease is lost; the loop hears of it as well
        if pause:
            await asyncio.sleep(pause)
        spec = act.node.spec
        stats: dict[str, Any] | None = None
        error: str | None = None
        try:
            if self.needs_review(act):
                if not await _insisting(lambda: reviews.is_approved_for_good(self._row.id, act.node.id)):
                    await _insisting(lambda: reviews.ask(self._row, act))
                    self._post(NodeSuspended(act.number, now_us()))
                    return
                if act.node.is_review:
                    assert act.data is not None
                    outputs = [("approved_data", act.data.get("data")), ("review_message", AUTO_APPROVED)]
                    self._post(NodeEnded(act.number, now_us(), outputs))
                    return
            if act.node.is_agent:
                await _insisting(lambda: subruns.start(self._row, self._request, act))
                return
            if spec.isolated:
                await self._put(act)
                return
            stats = await self._execute(act)
        except blocks.BlockFailure as failure:
            error = str(failure)
        except (integrations.CredentialsUnavailable, subruns.NotStarted) as failure:
            error = blocks.failure_text(spec.name, spec.id, str(failure))
        except Exception as failure:
            # A defect of ours must end this node, not leave the run waiting for it for ever.
            _log.exception("node_failed_unexpectedly", run_id=self._row.id, node_id=act.node.id)
            error = blocks.failure_text(spec.name, spec.id, f"internal error ({type(failure).__name__})")
        self._post(NodeEnded(act.number, now_us(), [], error, None, stats))

    async def _execute(self, act: Activation) -> dict[str, Any] | None:
        """Try as often as the node's policy allows. Each attempt has the same idempotency key."""
        policy = act.node.policy or ONCE
        failed = act.attempts
        while True:
            try:
                async with asyncio.timeout(policy.timeout):
                    return await self._attempt(act)
            except TimeoutError:
                spec = act.node.spec
                failure = blocks.BlockFailure(
                    blocks.failure_text(spec.name, spec.id, f"timed out after {policy.timeout:g} seconds"),
                    expected=True,
                )
            except blocks.BlockFailure as error:
                failure = error
            failed += 1
            if failed >= policy.attempts:
                raise failure
            self._post(NodeRetried(act.number, now_us(), str(failure)))
            await asyncio.sleep(policy.pause(failed, random()))

    async def _attempt(self, act: Activation) -> dict[str, Any] | None:
        spec = act.node.spec
        # What earlier attempts have emitted is not emitted again.
        known = act.emitted() - act.emitted_before_memo
        block = blocks.get(spec.id)
        assert block is not None
        assert act.data is not None
        context = self._context(act, await acquire_credentials(self._row.user_id, spec, act.data))
        if act.node.tools:
            context.tools = await self._tools(act)
            context.memo, context.run_tool = act.memo, partial(self._call, act, set())
        async for name, value in blocks.stream(block(), act.data, context):
            if known:
                known -= 1
            else:
                self._post(NodeYielded(act.number, now_us(), [(name, value)]))
        if context.recorded is None:
            return None
        return {name: value for name, value in msgspec.to_builtins(context.recorded).items() if value}

    async def _put(self, act: Activation) -> None:
        """Have the node executed by whoever takes its job. Once it is put, the job is found if its ticket is lost."""
        spec, policy, row = act.node.spec, act.node.policy or ONCE, self._row
        assert act.data is not None
        order = NodeOrder(
            block_id=spec.id,
            data=act.data,
            fields=self._fields(act),
            seconds=policy.timeout or get_settings().node_timeout_seconds,
        )
        body, repeatable = _encode(order), spec.pure or spec.repeatable
        if not self._has_mailbox:
            await _insisting(lambda: mail.open_mailbox(row.id))
            self._has_mailbox = True
        if await _insisting(lambda: nodejobs.put(row.id, row.fence, act.number, act.attempts, repeatable, body)):
            await control.offer_node(row.id, act.number, act.attempts)

    async def _tools(self, act: Activation) -> tuple[Tool, ...]:
        """What the node may call. A tool that is another graph is called as that is, and says what that says."""
        skipped = self._request.skipped
        usable = [tool for tool in act.node.tools if tool.node_id not in skipped]
        user_id = self._row.user_id
        return tuple(
            [await _insisting(partial(subruns.introduce, user_id, tool)) if tool.agent else tool for tool in usable]
        )

    async def _call(
        self, caller: Activation, taken: set[int], tool: Tool, arguments: Mapping[str, Any], memo: Any
    ) -> dict[str, list[Any]]:
        """Have a tool run, unless an earlier attempt at the caller had it run with these arguments. `taken` are the
        calls that this attempt has come across."""
        try:
            given, memo = blocks.normalise(dict(arguments)), blocks.normalise(memo)
        except (UnicodeError, TypeError, RecursionError, msgspec.MsgspecError) as error:
            raise BlockError(f"the arguments cannot be written as JSON: {error}") from error
        act = _call_on_record(caller, taken, tool.node_id, given)
        answer = self._answers.setdefault(caller.number, asyncio.Event())
        if act is None:
            self._post(ToolCalled(caller.number, now_us(), tool.node_id, given, memo))
        self._callers[caller.number] = caller
        while act is None or act.status not in FINAL:
            answer.clear()
            await answer.wait()
            act = act or _call_on_record(caller, taken, tool.node_id, given)
        del self._callers[caller.number]
        if act.status is not Status.COMPLETED:
            raise BlockError(str(act.outputs.get("error", ["it was stopped"])[-1]))
        return act.outputs

    def _context(self, act: Activation, credentials: dict[str, Credentials]) -> Context:
        return blocks.context(self._row.user_id, self._row.id, **self._fields(act), credentials=credentials)

    def _fields(self, act: Activation) -> dict[str, Any]:
        node_exec_id = view.activation_id(self._row.id, act.number)
        return {
            "graph_id": self._row.graph_id,
            "graph_version": self._row.graph_version,
            "node_id": act.node.id,
            "node_exec_id": node_exec_id,
            "idempotency_key": node_exec_id,
        }


async def acquire_credentials(user_id: str, spec: BlockSpec, data: dict[str, Any]) -> dict[str, Credentials]:
    """The credentials that the node's input refers to. Shared by any number of nodes at once: nothing is locked."""
    return await _insisting(partial(integrations.acquire_for, user_id, spec, data))


async def bring_files(user_id: str, run_id: str, data: dict[str, Any]) -> None:
    """Put the uploads that a node's input names where a process without a database finds them."""
    await _insisting(partial(files.bring, user_id, run_id, data))


def runs_elsewhere(act: Activation) -> bool:
    """Whether what comes of the activation arrives in the run's mail: a sub-run or an isolated block is behind it."""
    return act.node.is_agent or act.node.spec.isolated


async def _insisting(ask: Callable[[], Awaitable[T]]) -> T:
    """What the platform has to do for a node, and may do twice: a database that is away is waited for, as it says
    nothing about the node."""
    while True:
        try:
            return await ask()
        except queries.DATABASE_AWAY as error:
            _log.warning("node_delayed", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)


def _waits_elsewhere(caller: Activation) -> bool:
    """Whether only sub-runs, other processes and people can answer its calls."""
    unanswered = [act for act in caller.calls if act.status not in FINAL]
    return bool(unanswered) and all(runs_elsewhere(act) or act.status is Status.REVIEW for act in unanswered)


def _call_on_record(caller: Activation, taken: set[int], node_id: str, given: Any) -> Activation | None:
    for act in caller.calls:
        if act.number not in taken and act.node.id == node_id and act.received == given:
            taken.add(act.number)
            return act
    return None
