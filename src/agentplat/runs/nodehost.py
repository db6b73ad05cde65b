"""The isolated nodes of one worker process: claims their jobs, has children execute them, reports to their runs.

It knows nothing of a run but the job (see `nodejobs`, where it says why none is lost and none recorded twice), so it
may live in another process than the run's driver, and outlive it. What happens to a child happens to one job.
"""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import msgspec

from agentplat.blocks import service as blocks
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger
from agentplat.infra.upkeep import every
from agentplat.integrations import service as integrations
from agentplat.runs import control, nodejobs, queries
from agentplat.runs.letters import Addressed, NodeReported
from agentplat.runs.nodejobs import NodeJob
from agentplat.runs.nodes import NodeOrder, acquire_credentials, bring_files
from agentplat.sdk import BlockError

# How soon a job is found whose ticket got lost, and one is given up that nobody wants any more. One statement each.
BEAT_SECONDS = 0.3
# How long executions may still take when the worker is told to end.
GRACE_SECONDS = 1.0
RETRY_SECONDS = 0.2
# How many outputs may wait for their delivery before the block has to.
MOST_OUTPUTS = 256

_decode = msgspec.json.Decoder(NodeOrder).decode
_log = get_logger(__name__)

Answers = asyncio.Queue[blocks.Output | blocks.Done]


class NodeHost:
    """Use as `async with NodeHost(settings) as host`; `execute` takes a job and returns when it is over."""

    def __init__(self, settings: Settings) -> None:
        self.size = settings.node_processes
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._pool = blocks.Pool(settings)
        self._tasks: dict[tuple[str, int], asyncio.Task[bool]] = {}
        self._claimed: dict[NodeJob, asyncio.Task[Any]] = {}
        self._upkeep: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "NodeHost":
        self._upkeep = [
            asyncio.create_task(every(BEAT_SECONDS, self._renew), name="renew-nodes"),
            asyncio.create_task(every(BEAT_SECONDS, self._sweep), name="sweep-nodes"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of everything: a job that may be repeated is taken by somebody else at once."""
        for work in self._upkeep:
            work.cancel()
        if self._claimed:
            await asyncio.wait(self._claimed.values(), timeout=GRACE_SECONDS)
        left = list(self._claimed)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*self._upkeep, *tasks, return_exceptions=True)
        await self._pool.close()
        for job in left:
            await nodejobs.release(job)

    async def execute(self, run_id: str, activation: int) -> bool:
        """Take a job and see it through. Waits while all children are busy. False if the job isn't to be had, or isn't
        any more."""
        self._begin(run_id, activation)
        task = self._tasks[run_id, activation]
        await asyncio.wait({task})
        return not task.cancelled() and task.result()

    def _begin(self, run_id: str, activation: int) -> None:
        key = run_id, activation
        if key not in self._tasks:
            self._tasks[key] = task = asyncio.create_task(self._take(*key), name=f"job {run_id}:{activation}")
            task.add_done_callback(lambda _: self._tasks.pop(key))

    async def _take(self, run_id: str, activation: int) -> bool:
        """First a child that is ready, then the claim: a job goes to who can begin at once rather than to who has to
        start a process for it, and of the claims that a job has, each was spent on executing it."""
        async with self._pool.child() as child:
            try:
                job = await nodejobs.claim(run_id, activation, self._lease)
            except queries.DATABASE_AWAY as error:
                _log.warning("node_not_taken", run_id=run_id, activation=activation, reason=str(error))
                return False  # a sweep finds it
            if job is None:
                return False
            task = asyncio.current_task()
            assert task is not None
            self._claimed[job] = task
            try:
                await self._run(job, child)
            finally:
                del self._claimed[job]
        return True

    async def _run(self, job: NodeJob, child: blocks.Child) -> None:
        answers: Answers = asyncio.Queue(MOST_OUTPUTS)
        executing = asyncio.create_task(self._execute(job, child, answers))
        try:
            await self._deliver(job, answers)
        except Exception:
            # The claim runs out, and the job is repeated or declared interrupted.
            _log.exception("node_not_reported", run_id=job.run_id, activation=job.activation)
        finally:
            executing.cancel()
            await asyncio.gather(executing, return_exceptions=True)

    async def _execute(self, job: NodeJob, child: blocks.Child, answers: Answers) -> None:
        """Put into `answers` what the block emits, and how it ended, whatever happens."""
        order = _decode(job.body)
        try:
            block = blocks.get(order.block_id)
            if block is None:
                await answers.put(blocks.Done(f"there is no block {order.block_id} here"))
                return
            spec = block.spec
            await bring_files(job.user_id, job.run_id, order.data)
            request = blocks.Request(
                block_id=spec.id,
                data=order.data,
                user_id=job.user_id,
                run_id=job.run_id,
                fields=order.fields,
                credentials=await acquire_credentials(job.user_id, spec, order.data),
            )
            async with aclosing(child.execute(spec, request, order.seconds)) as found:
                async for answer in found:
                    await answers.put(answer)
        except (integrations.CredentialsUnavailable, BlockError) as failure:
            await answers.put(blocks.Done(blocks.failure_text(spec.name, spec.id, str(failure))))
        except Exception as failure:
            # A defect of ours must end this node, not leave the run waiting for it for ever.
            _log.exception("node_failed_unexpectedly", run_id=job.run_id, activation=job.activation)
            error = f"internal error ({type(failure).__name__})"
            await answers.put(blocks.Done(blocks.failure_text(order.block_id, order.block_id, error)))

    async def _deliver(self, job: NodeJob, answers: Answers) -> None:
        """Report in batches: what comes while a report is under way goes into the next one."""
        known, delivered, over = job.emitted, job.emitted, False
        while not over:
            batch = [await answers.get()]
            while not answers.empty():
                batch.append(answers.get_nowait())
            outputs: list[tuple[str, Any]] = []
            letter = NodeReported(job.activation, job.attempt)
            for answer in batch:
                if isinstance(answer, blocks.Done):
                    letter = NodeReported(job.activation, job.attempt, outputs, True, answer.error, answer.stats)
                elif known:
                    known -= 1  # an earlier claim or attempt has emitted it
                else:
                    outputs.append((answer.name, answer.value))
            over = letter.over
            if outputs or over:
                letter = msgspec.structs.replace(letter, outputs=outputs)
                if not await _report(job, delivered, letter):
                    return
                delivered += len(outputs)

    async def _renew(self) -> None:
        """One statement for all jobs. Those that it no longer finds are somebody else's, or wanted by nobody."""
        mine = dict(self._claimed)
        if not mine:
            return
        standing = await nodejobs.renew(list(mine), self._lease)
        for job, task in mine.items():
            if (job.run_id, job.activation) not in standing:
                task.cancel()

    async def _sweep(self) -> None:
        """Take what nobody executes: lost tickets, and what a process has left that died."""
        if (free := self.size - len(self._tasks)) > 0:
            for run_id, activation in await nodejobs.find_waiting(free):
                _log.info("node_recovered", run_id=run_id, activation=activation)
                self._begin(run_id, activation)


async def _report(job: NodeJob, delivered: int, letter: NodeReported) -> bool:
    """Whether the claim still stands. Tries until the database has answered."""
    while True:
        try:
            asleep = await nodejobs.report(job, delivered, letter)
            break
        except queries.DATABASE_AWAY as error:
            _log.warning("node_report_delayed", run_id=job.run_id, reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)
    if asleep is None:
        return False
    await control.call_for_mail([Addressed(job.run_id, letter)], asleep)
    return True
