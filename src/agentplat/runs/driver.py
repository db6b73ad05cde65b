"""The runs of one worker process: claims them, keeps their leases, and finds those that nobody looks after.

Who may run what is decided by one statement (in `turns`), so it does not matter how often a run is offered: by its
queue job, by the sweep of several workers at once, or twice by a queue that delivers twice. A first run and a
recovery take the same path: claim, replay the journal (empty for a new run), go on.

A run that was accepted comes with a ring of the workers' bell, which says that there is something to do and not what:
a worker with room looks whose turn it is. One that finds no run that may begin forgets of it; the run that it came for
waits in the database, and whoever has let go of a run looks there for the next.
"""

import asyncio
from datetime import timedelta

import msgspec

from agentplat.engine.compile import CompileError
from agentplat.engine.state import FINAL, Status
from agentplat.events import service as events
from agentplat.events.models import WITHOUT_MESSAGES, RunRecord
from agentplat.files import service as files
from agentplat.infra.clock import now
from agentplat.infra.errors import AppError
from agentplat.infra.ids import new_id
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger
from agentplat.infra.upkeep import every
from agentplat.runs import control, mail, metrics, nodejobs, queries, turns, view
from agentplat.runs.hosted import HostedRun, LeaseLost
from agentplat.runs.journal import JournalWriter
from agentplat.runs.letters import Addressed, SubRunEnded
from agentplat.runs.models import RunRow
from agentplat.runs.replay import machine_of, replay

# How soon a run is found whose lease has run out. Each sweep is two statements on small indexes.
SWEEP_SECONDS = 0.5
# Mailboxes are looked through in slices of so many, for those that outlived their runs.
MAILBOX_SECONDS = 5.0
MAILBOXES = 1000
# How many runs one statement may take. What a claim costs besides its runs, and the commit that ends them, is spread
# over so many; with more, one worker would have most of a graph's places.
MOST_AT_ONCE = 16
# How long running blocks may finish when the worker is told to end.
GRACE_SECONDS = 2.0

_encode = msgspec.json.Encoder().encode
_log = get_logger(__name__)


class Driver:
    """Use as `async with Driver(settings) as driver`. `take_turns` begins runs, `accept` takes a certain one.

    One that does not sweep takes only what it is told to, which makes its runs those that a test has in mind.
    """

    def __init__(self, settings: Settings, *, sweeps: bool = True) -> None:
        self.owner = new_id()
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._sweeps = sweeps
        self._capacity = settings.worker_concurrency
        self._places = settings.max_runs_per_graph
        self._max_activations = settings.max_node_executions
        self._slots = asyncio.Semaphore(self._capacity)
        self._writer = JournalWriter(self.owner, settings.journal_window_ms / 1000, events.publish)
        self._hosted: dict[str, HostedRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._upkeep: list[asyncio.Task[None]] = []
        self._looked_at = ""  # the last mailbox of the last slice
        self._served = ""  # the user whose run was taken last
        self._choosing = asyncio.Lock()  # of many who choose at once, all would choose the same run
        self._wanted = 0  # so many runs may be waiting for their turn
        self._called = asyncio.Event()

    async def __aenter__(self) -> "Driver":
        await self._make_partitions()
        self._writer.start()
        beat = self._lease.total_seconds() / 3
        self._upkeep = [
            asyncio.create_task(every(beat, self._renew), name="renew-leases"),
            asyncio.create_task(every(0, self._look), name="look"),
            asyncio.create_task(every(min(beat, SWEEP_SECONDS), self._settle), name="settle-nodes"),
            asyncio.create_task(every(3600, self._make_partitions), name="partitions"),
            asyncio.create_task(every(MAILBOX_SECONDS, self._close_mailboxes), name="mailboxes"),
            asyncio.create_task(every(events.RETRY_SECONDS, self._hear), name="hear"),
        ]
        if self._sweeps:
            self._upkeep.append(asyncio.create_task(every(min(beat, SWEEP_SECONDS), self._sweep), name="sweep"))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of all runs: what is recorded stays, and the next worker needn't wait for the leases to end."""
        for task in self._upkeep:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=GRACE_SECONDS)
        left = list(self._tasks)
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._upkeep, *self._tasks.values(), return_exceptions=True)
        await self._writer.close()
        if left:
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await queries.release(left, self.owner)
                _log.info("runs_released", runs=len(left))
            except queries.DATABASE_AWAY as error:
                # The leases end by themselves.
                _log.warning("runs_not_released", runs=len(left), reason=str(error))

    def look(self, runs: int = 1) -> None:
        """Have up to that many runs begun whose turn it is. Returns at once."""
        self._wanted += runs
        self._called.set()

    async def room(self) -> int:
        """How many more runs this worker can host, once it can host any."""
        async with self._slots:
            return max(1, self._capacity - len(self._tasks))

    async def take_turns(self, most: int) -> int:
        """Host runs whose turn it is while there is room, at most that many. Returns how many."""
        taken, more = 0, True
        while more and taken < most and (slots := await self._reserve(most - taken)):
            try:
                async with self._choosing:
                    turn = await turns.claim_next(self._served, self._places, self.owner, self._lease, now(), slots)
                    self._served = turn.served
            except BaseException:
                self._free(slots)
                raise
            self._free(slots - len(turn.rows))
            for row in turn.rows:
                self._begin(row)
            taken, more = taken + len(turn.rows), turn.more
        return taken

    async def accept(self, run_id: str) -> bool:
        """Host a certain run. Waits while this worker is full. False if it isn't to be had."""
        await self._slots.acquire()
        try:
            row = await turns.claim(run_id, self.owner, self._lease, now(), self._places)
        except BaseException:
            self._free(1)
            raise
        if row is None:
            self._free(1)
            return False
        self._begin(row)
        return True

    async def _reserve(self, most: int) -> int:
        """Take slots for runs, without waiting for any: none while others wait for them."""
        slots = 0
        while slots < min(most, MOST_AT_ONCE) and not self._slots.locked():
            await self._slots.acquire()
            slots += 1
        return slots

    def _free(self, slots: int) -> None:
        for _ in range(slots):
            self._slots.release()

    def _begin(self, row: RunRow) -> None:
        """Host a run that was claimed, in a slot that was reserved."""
        run_id, before = row.id, self._tasks.get(row.id)
        if hosted := self._hosted.get(run_id):
            hosted.lose()  # our own lease had run out, as after a pause of this process: its fence is old
        metrics.HOSTED.inc()
        self._tasks[run_id] = task = asyncio.create_task(self._host(row, before), name=f"run {run_id}")
        task.add_done_callback(lambda task: self._let_go(run_id, task))

    def _let_go(self, run_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(run_id) is task:
            del self._tasks[run_id]
            self._hosted.pop(run_id, None)
        metrics.HOSTED.dec()
        self._free(1)
        self.look()

    async def _host(self, row: RunRow, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            machine, recorded = (await machine_of(row), 0) if row.fence == 1 else await replay(row)
            if machine.status in FINAL:
                return  # an ending whose answer got lost was committed after all, before this claim's answer came
            if row.fence == 1:
                metrics.STARTED.inc()
            hosted = HostedRun(row, machine, recorded, self._writer, self._max_activations)
            self._hosted[row.id] = hosted
            if await hosted.drive():
                await files.discard(row.id)
        except LeaseLost:
            metrics.LEASES_LOST.inc()
            _log.warning("lease_lost", run_id=row.id, fence=row.fence)
        except queries.DATABASE_AWAY as error:
            # The run is still ours to whoever asks the database; when the lease ends the next sweep takes it.
            _log.warning("run_set_aside", run_id=row.id, reason=str(error))
        except (AppError, CompileError) as error:
            # The graph is gone, or uses a block that this installation doesn't have any more.
            await self._fail(row, str(error))
        except Exception as error:
            # Trying again would meet the same defect for ever: the run ends, and says so.
            _log.exception("run_failed_unexpectedly", run_id=row.id)
            await self._fail(row, f"internal error ({type(error).__name__})")

    async def _fail(self, row: RunRow, error: str) -> None:
        """End a run that has no machine, and tell who waits for it."""
        at = now()
        if not await queries.fail(row.id, row.fence, _encode(view.failed_stats(row, error, at)), at):
            return
        metrics.ENDED[Status.FAILED].inc()
        ended = RunRecord(
            user_id=row.user_id, graph_id=row.graph_id, run_id=row.id, seq=WITHOUT_MESSAGES, body=b"[]", final=True
        )
        await events.publish([ended])
        if row.parent_id is not None and row.parent_activation is not None:
            letters = [Addressed(row.parent_id, SubRunEnded(row.parent_activation, Status.FAILED, 0, 0))]
            await control.call_for_mail(letters, await mail.deliver(letters))

    # Upkeep

    async def _renew(self) -> None:
        """One statement for all runs. Those that it no longer finds belong to somebody else, or are gone."""
        mine = list(self._hosted)
        if not mine:
            return
        held = await queries.renew(mine, self.owner, self._lease)
        for run_id in mine:
            hosted = self._hosted.get(run_id)
            if hosted is None:
                continue
            if run_id not in held:
                hosted.lose()
            elif held[run_id]:
                hosted.stop()
            elif hosted.expects_mail:
                hosted.look_for_mail()

    async def _sweep(self) -> None:
        """Take what nobody looks after: leases that ran out, and runs whose ring got lost (or Redis with it)."""
        if (free := self._capacity - len(self._tasks)) > 0:
            for run_id in await queries.find_stranded(free):
                if await self.accept(run_id):
                    metrics.RECOVERED.inc()
                    _log.info("run_recovered", run_id=run_id)
            self.look(free)

    async def _settle(self) -> None:
        """Tell runs of isolated nodes that nobody executes any more and nobody may execute again."""
        letters, asleep = await nodejobs.interrupt_abandoned()
        if letters:
            _log.info("nodes_interrupted", nodes=len(letters))
            await control.call_for_mail(letters, asleep)

    async def _look(self) -> None:
        """Begin what was called for during the last look. What there is no room for is left to other workers."""
        await self._called.wait()
        self._called.clear()
        wanted, self._wanted = self._wanted, 0
        taken = await self.take_turns(wanted)
        if taken < wanted and self._slots.locked():
            await control.ring(wanted - taken)

    async def _make_partitions(self) -> None:
        today = now().date()
        for day in (today, today + timedelta(days=1)):
            await queries.ensure_partition(day)

    async def _close_mailboxes(self) -> None:
        self._looked_at = await mail.close_left_open(self._looked_at, MAILBOXES)

    async def _hear(self) -> None:
        async for verb, run_id in control.hear():
            if hosted := self._hosted.get(run_id):
                if verb == "stop":
                    hosted.stop()
                elif verb == "mail":
                    hosted.look_for_mail()
