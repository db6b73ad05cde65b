"""What the tables say of a run, read as rows: never through the API, which could make the same mistake twice."""

from collections.abc import Iterator

from msgspec import Struct

from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, decode
from agentplat.infra.db import db
from agentplat.runs import queries
from agentplat.runs.models import RunRow
from agentplat.runs.replay import machine_of


class JournalRow(Struct, frozen=True):
    """Messages from number `seq` on, written by who held the run under `fence`."""

    seq: int
    fence: int
    body: bytes


class Record(Struct):
    """A run. `machine` is as it was when the run was accepted, until `of_run` has fed the journal to it."""

    row: RunRow
    journal: list[JournalRow]
    machine: RunMachine

    def messages(self) -> Iterator[tuple[int, Message]]:
        """Every message, with the fence that it was written under."""
        for one in self.journal:
            for message in decode(one.body):
                yield one.fence, message

    def waits(self) -> bool:
        """Whether its graph has nodes that wait for others."""
        return any(node.is_agent or node.is_review for node in self.machine.plan.nodes)


async def read_records() -> dict[str, Record]:
    """All runs by id, in order of acceptance."""
    records = {}
    for run in await db().fetch("SELECT id FROM runs ORDER BY created_at"):
        row = await queries.find(run["id"])
        assert row is not None
        journal = await db().fetch("SELECT seq, fence, body FROM journal WHERE run_id = $1 ORDER BY seq", row.id)
        records[row.id] = Record(row, [JournalRow(**one) for one in journal], await machine_of(row))
    return records
