"""Runs as users know them: start, look at, stop, delete."""

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from agentplat.credits import service as credits
from agentplat.engine.machine import RunMachine
from agentplat.engine.plan import StartError
from agentplat.engine.state import FINAL, Status
from agentplat.events import service as events
from agentplat.events.models import RunRecord
from agentplat.graphs import service as graphs
from agentplat.infra.clock import now
from agentplat.infra.ids import is_id, new_id
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger
from agentplat.runs import control, ending, queries, view
from agentplat.runs.errors import InsufficientBalance, NotStartable, RunNotFound
from agentplat.runs.models import (
    CredentialsMetaInput,
    ExecuteBody,
    NodeInputs,
    Pagination,
    RunMeta,
    RunPage,
    RunRequest,
    RunRow,
    RunWithNodes,
    Segment,
)
from agentplat.runs.replay import machine_of, replay

MAX_LISTED = 250
# How long a stop waits for the worker to say that the run has ended. The wish is on record either way.
STOP_SECONDS = 5.0
STOP_POLL_SECONDS = 0.02

__all__ = [
    "delete",
    "find",
    "get",
    "journal",
    "list_",
    "machine_of",
    "node_members",
    "page",
    "run_members",
    "start",
    "stop",
]

_encoder = msgspec.json.Encoder()
_log = get_logger(__name__)


async def start(user_id: str, graph_id: str, version: int, body: ExecuteBody, preset_id: str | None = None) -> RunMeta:
    """Accept a run. When this returns the run is committed, and whatever happens it reaches a final status."""
    if await credits.balance(user_id) <= 0:
        raise InsufficientBalance
    graph = await graphs.runnable(user_id, graph_id, version)
    prepared = await graphs.prepare_run(user_id, graph, _as_objects(body.credentials_inputs), {})
    created = now()
    request = RunRequest(
        inputs=body.inputs,
        credential_inputs=body.credentials_inputs,
        masks=prepared.masks,
        skipped=prepared.nodes_to_skip,
    )
    try:
        # The machine that the worker will make: what it refuses is refused here, before anything is stored.
        machine = RunMachine(
            await graphs.plan(graph.id, graph.version),
            view.microseconds(created),
            request.inputs,
            request.masks,
            frozenset(request.skipped),
        )
    except StartError as error:
        raise NotStartable(str(error)) from error
    row = RunRow(
        id=new_id(),
        user_id=user_id,
        graph_id=graph.id,
        graph_version=graph.version,
        preset_id=preset_id,
        parent_id=None,
        status=Status.QUEUED,
        request=_encoder.encode(replace(request, shown=request.inputs or view.inputs_taken(machine))),
        created_at=created,
        started_at=None,
        ended_at=None,
        deadline=created + timedelta(seconds=get_settings().run_deadline_seconds),
        stop_requested_at=None,
        fence=0,
        is_shared=False,
        share_token=None,
        stats=None,
        outputs=None,
        node_executions=None,
    )
    await queries.insert(row, root_id=row.id)
    await _announce(row)
    return view.stored_meta(row)


async def _announce(row: RunRow) -> None:
    """Wake a worker and the dashboards. The committed row is the truth: what fails here is made up for by the sweep."""
    accepted = RunRecord(user_id=row.user_id, graph_id=row.graph_id, run_id=row.id, seq=0, body=b"[]")
    try:
        await events.publish([accepted])
        await control.offer(row.id)
    except Exception as error:
        _log.warning("run_not_enqueued", run_id=row.id, reason=str(error))


async def get(user_id: str, graph_id: str, run_id: str) -> RunWithNodes:
    """A run with outputs and nodes. A final one is one row; one that is going on is folded from its journal."""
    row = await queries.get(user_id, run_id, graph_id) if is_id(run_id) else None
    if row is None:
        raise RunNotFound(run_id)
    if row.status in FINAL and row.node_executions is not None:
        return view.stored_run(row)
    machine, _ = await replay(row)
    return view.live_run_with_nodes(row, machine, view.microseconds(now()))


async def list_(user_id: str) -> list[RunMeta]:
    """The user's newest runs."""
    return [view.stored_meta(row) for row in await queries.list_of_user(user_id, MAX_LISTED)]


async def page(user_id: str, graph_id: str, number: int, size: int) -> RunPage:
    """One page of a graph's runs, newest first. Pages count from 1."""
    rows, total = await queries.page_of_graph(user_id, graph_id, (number - 1) * size, size)
    return RunPage(
        executions=[view.stored_meta(row) for row in rows],
        pagination=Pagination(
            total_items=total, total_pages=math.ceil(total / size), current_page=number, page_size=size
        ),
    )


async def stop(user_id: str, graph_id: str, run_id: str) -> RunMeta | None:
    """End a run: at once if no worker has it, else as soon as its worker hears of it.

    Answers with the state after the stop; None where there is nothing (any more) to stop.
    """
    if not is_id(run_id) or not await queries.request_stop(user_id, graph_id, run_id, now()):
        return None
    try:
        await control.send_stop(run_id)
    except Exception as error:
        _log.warning("stop_not_sent", run_id=run_id, reason=str(error))
    row = None
    for _ in range(math.ceil(STOP_SECONDS / STOP_POLL_SECONDS)):
        await ending.terminate(run_id)
        row = await queries.get(user_id, run_id, graph_id)
        if row is None or row.status in FINAL:
            break
        await asyncio.sleep(STOP_POLL_SECONDS)
    return None if row is None else view.stored_meta(row)


async def delete(user_id: str, run_id: str) -> None:
    """Hide a run from every answer. One that is going on goes on."""
    if not is_id(run_id) or not await queries.mark_deleted(user_id, run_id):
        raise RunNotFound(run_id)


def _as_objects(given: Mapping[str, CredentialsMetaInput]) -> NodeInputs:
    objects: dict[str, dict[str, Any]] = msgspec.to_builtins(dict(given))
    return objects


# For event streams, which fold runs themselves


find = queries.find
node_members = view.node_members


async def journal(row: RunRow, from_seq: int) -> list[Segment]:
    """The journal rows of a run whose first message is `from_seq` or later, in order."""
    return await queries.read_journal(row.id, row.created_at.astimezone(UTC).date(), from_seq - 1)


def run_members(row: RunRow, machine: RunMachine, at: datetime) -> dict[str, Any]:
    """The members of a Run as far as `machine` has come, at the time `at`."""
    return view.run_members(row, machine, view.microseconds(at))
