"""Plays the worker: records what happens in runs, at a pace of the benchmark's, by the platform's own journal writer.

So the moment of each commit is known, and no worker's work is measured along with the way of the events.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from time import perf_counter, time_ns
from typing import Any

from agentplat.engine.activation import Activation, Command, StartNode
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, NodeEnded, RunBegan, encode
from agentplat.events import service as events
from agentplat.events.models import RunRecord
from agentplat.infra.clock import now
from agentplat.infra.db import close_database, open_database
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings
from agentplat.realtime.fold import Fold, Keep
from agentplat.runs import service as runs
from agentplat.runs import turns
from agentplat.runs.commits import Write
from agentplat.runs.journal import JournalWriter
from agentplat.runs.models import ExecuteBody, RunRow

OWNER = "benchmark"
LEASE = timedelta(hours=1)


class FedRun:
    """A run of a graph that never ends by itself, one node execution at a time.

    `numbers` has the number of the last event that each journal row makes, in order.
    """

    def __init__(self, row: RunRow, machine: RunMachine, fold: Fold) -> None:
        self.row = row
        self.machine = machine
        self.seq = 1
        self.numbers: list[int] = []
        self._fold = fold
        fold.begin(Keep.NOTHING)
        self._ready: list[Activation] = []

    def begin(self) -> Write:
        return self._write([RunBegan(time_ns() // 1000)])

    def step(self, executions: int = 1) -> Write:
        """The next journal row: so many executions of the node that is next."""
        messages: list[Message] = []
        for _ in range(executions):
            act, at = self._ready.pop(0), time_ns() // 1000
            messages.append(NodeEnded(act.number, at, [("output", act.number)], None, at))
            self._take(self.machine.feed(messages[-1]))
        return self._record(messages)

    def _write(self, messages: list[Message]) -> Write:
        for message in messages:
            self._take(self.machine.feed(message))
        return self._record(messages)

    def _take(self, commands: Sequence[Command]) -> None:
        self._ready += [command.activation for command in commands if isinstance(command, StartNode)]

    def _record(self, messages: list[Message]) -> Write:
        day = self.row.created_at.astimezone(UTC).date()
        write = Write(
            run_id=self.row.id, seq=self.seq, run_day=day, fence=self.row.fence, body=encode(messages), ending=None
        )
        self.seq += len(messages)
        for _ in self._fold.feed(write.seq, write.body, Keep.NOTHING):
            pass
        self.numbers.append(self._fold.number)
        return write


class Feeder:
    """`committed` has the moment of each commit of each run, in order."""

    def __init__(self) -> None:
        self.committed: dict[str, list[float]] = {}
        self._writer = JournalWriter(OWNER, 0.002, self._publish)

    async def run(self, user: str, graph: dict[str, Any]) -> FedRun:
        """A new run, begun."""
        accepted = await runs.accept(user, graph["id"], graph["version"], ExecuteBody(), None)
        row = await turns.claim(accepted.run.id, OWNER, LEASE, now(), places=1_000)
        assert row is not None
        fed = FedRun(row, await runs.machine_of(row), await Fold.open(row))
        await self.feed([(fed, fed.begin())])
        return fed

    async def feed(self, rows: Sequence[tuple[FedRun, Write]]) -> None:
        """Until they are committed and published."""
        done = [self._writer.submit(write, run.row.user_id, run.row.graph_id) for run, write in rows]
        assert all(await asyncio.gather(*done))

    async def _publish(self, records: Sequence[RunRecord]) -> None:
        moment = perf_counter()
        for record in records:
            self.committed.setdefault(record.run_id, []).append(moment)
        await events.publish(records)


@asynccontextmanager
async def feeding(settings: Settings) -> AsyncIterator[Feeder]:
    """A feeder on the platform's own database and Redis."""
    await open_database(settings)
    await open_redis(settings)
    feeder = Feeder()
    feeder._writer.start()
    try:
        yield feeder
    finally:
        await feeder._writer.close()
        await close_redis()
        await close_database()
