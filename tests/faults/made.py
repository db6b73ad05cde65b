"""Runs as the judge reads them, made without a platform: for tests of the judge."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from agentplat.blocks.registry import Registry
from agentplat.engine.compile import compile_graph
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, encode
from agentplat.runs import view
from agentplat.runs.ending import ending_of
from agentplat.runs.models import RunRequest, RunRow
from tests.faults.record import JournalRow, Record
from tests.support.drawing import Drawing
from tests.support.services import BLOCK_MODULES

BLOCKS = Registry.load(BLOCK_MODULES.split(",")).blocks
AT = datetime(2026, 1, 1, tzinfo=UTC)
RUN_ID = "0b6f3a52-7c1e-4d0a-9f63-2a7f1f6a9c01"


def fresh(drawing: Drawing) -> RunMachine:
    plan = compile_graph(drawing.nodes, drawing.links, {block_id: block.spec for block_id, block in BLOCKS.items()})
    return RunMachine(plan, view.microseconds(AT))


def replayed(drawing: Drawing, journal: list[list[Message]]) -> RunMachine:
    machine = fresh(drawing)
    for messages in journal:
        for message in messages:
            machine.feed(message)
    return machine


def rows_of(journal: list[list[Message]], fences: tuple[int, ...] = ()) -> list[JournalRow]:
    rows, seq = [], 1
    for number, messages in enumerate(journal):
        rows.append(JournalRow(seq, fences[number] if fences else 1, encode(messages)))
        seq += len(messages)
    return rows


def record_of(drawing: Drawing, journal: list[list[Message]], **members: Any) -> Record:
    """A final run with this journal, whose machine has not seen it yet. `members` of its row are different."""
    machine = replayed(drawing, journal)
    row = RunRow(
        id=RUN_ID,
        user_id="ann",
        graph_id="g",
        graph_version=1,
        preset_id=None,
        parent_id=None,
        status=machine.status,
        request=msgspec.json.encode(RunRequest()),
        created_at=AT,
        started_at=AT,
        ended_at=AT,
        deadline=AT,
        stop_requested_at=None,
        fence=1,
        is_shared=False,
        share_token=None,
        stats=None,
        outputs=None,
        node_executions=None,
    )
    row = replace(row, **members)
    ending = ending_of(row, machine)
    row = replace(row, stats=ending.stats, outputs=ending.outputs, node_executions=ending.node_executions)
    return Record(row, rows_of(journal), fresh(drawing))


def judged(drawing: Drawing, journal: list[list[Message]], **members: Any) -> Record:
    """The same, with its machine at the end."""
    record = record_of(drawing, journal, **members)
    return Record(record.row, record.journal, replayed(drawing, journal))
