"""What the tables say of a run, read as rows: never through the API, which could make the same mistake twice."""

from collections.abc import Iterator

from msgspec import Struct

from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, decode
from agentplat.infra.db import db
from agentplat.runs import queries, spilling
from agentplat.runs.models import RunRow
from agentplat.runs.replay import machine_of


class JournalRow(Struct, frozen=True):
    """Messages from number `seq` on, written by who held the run under `fence`; whole, with the big values in place."""

    seq: int
    fence: int
    body: bytes


class Record(Struct):
    """A run. `machine` is as it was when the run was accepted, until `of_run` has fed the journal to it.

    `blobs` are the digests of the big values that are stored for it, `named` those that its journal and result name.
    """

    row: RunRow
    journal: list[JournalRow]
    machine: RunMachine
    blobs: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()

    def messages(self) -> Iterator[tuple[int, Message]]:
        """Every message, with the fence that it was written under."""
        for one in self.journal:
            for message in decode(one.body):
                yield one.fence, message

    def waits(self) -> bool:
        """Whether its graph has nodes that wait for others."""
        return any(node.is_agent or node.is_review or node.spec.isolated for node in self.machine.plan.nodes)


async def read_records() -> dict[str, Record]:
    """All runs by id, in order of acceptance."""
    records = {}
    for run in await db().fetch("SELECT id, result_handles FROM runs ORDER BY created_at"):
        row = await queries.find(run["id"])
        assert row is not None
        blobs = {
            one["hash"].hex(): one["body"]
            for one in await db().fetch("SELECT hash, body FROM blobs WHERE run_id = $1", row.id)
        }
        named = _named(run["result_handles"])
        journal = []
        for one in await db().fetch(
            "SELECT seq, fence, body, handles FROM journal WHERE run_id = $1 ORDER BY seq", row.id
        ):
            handles = spilling.decode_handles(one["handles"] or b"[]")
            journal.append(JournalRow(one["seq"], one["fence"], spilling.restored(one["body"], handles, blobs)))
            named.update(handle.digest for handle in handles)
        records[row.id] = Record(row, journal, await machine_of(row), frozenset(blobs), frozenset(named))
    return records


def _named(result_handles: bytes | None) -> set[str]:
    if result_handles is None:
        return set()
    result = spilling.decode_result_handles(result_handles)
    return {handle.digest for handle in [*result.outputs, *result.node_executions]}
