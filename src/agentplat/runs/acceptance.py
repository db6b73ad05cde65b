"""What makes a run acceptable, for runs that users start and for those that runs start."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from agentplat.engine.machine import RunMachine
from agentplat.engine.plan import StartError
from agentplat.engine.state import Status
from agentplat.events import service as events
from agentplat.events.models import RunRecord
from agentplat.graphs import service as graphs
from agentplat.graphs.models import GraphSettings, GraphVersion
from agentplat.infra.clock import now
from agentplat.infra.gathering import Gathering
from agentplat.infra.ids import new_id
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger
from agentplat.runs import control, metrics, view
from agentplat.runs.errors import DeadlineInvalid, NotStartable
from agentplat.runs.models import ExecuteBody, NodeInputs, RunRequest, RunRow

# A Redis that hangs must not hold up the answer to a client whose run is stored.
ANNOUNCE_SECONDS = 1.0
MOST_AT_ONCE = 100

_encode = msgspec.json.Encoder().encode
_log = get_logger(__name__)


async def draft(
    run_id: str,
    user_id: str,
    graph: GraphVersion,
    request: RunRequest,
    created: datetime,
    deadline: datetime,
    preset_id: str | None = None,
    parent: RunRow | None = None,
    parent_activation: int | None = None,
    known: graphs.KnownCredentials = MappingProxyType({}),
) -> RunRow:
    """The row of a run that could begin. Raises NotStartable, or what is wrong with the graph's nodes.

    `request` is completed with the credentials spread over the nodes and the inputs that the run begins with.
    """
    given: NodeInputs = msgspec.to_builtins(request.credential_inputs)
    prepared = await graphs.prepare_run(user_id, graph, given, request.nodes_input_masks, known)
    request = replace(request, masks=prepared.masks, skipped=prepared.nodes_to_skip)
    plan = await graphs.plan(graph.id, graph.version)
    try:
        # The machine that the worker will make: what it refuses is refused here, before anything is stored.
        machine = RunMachine(
            plan, view.microseconds(created), request.inputs, request.masks, frozenset(request.skipped)
        )
    except StartError as error:
        raise NotStartable(str(error)) from error
    request = replace(request, shown=request.inputs or view.inputs_taken(machine))
    return RunRow(
        id=run_id,
        user_id=user_id,
        graph_id=graph.id,
        graph_version=graph.version,
        preset_id=preset_id,
        parent_id=None if parent is None else parent.id,
        root_id=run_id if parent is None else parent.root_id,
        parent_activation=parent_activation,
        depth=0 if parent is None else parent.depth + 1,
        status=Status.QUEUED,
        request=_encode(request),
        created_at=created,
        started_at=None,
        ended_at=None,
        deadline=deadline,
        stop_requested_at=None,
        fence=0,
        is_shared=False,
        share_token=None,
        stats=None,
        outputs=None,
        node_executions=None,
    )


async def draft_of(
    user_id: str,
    graph: GraphVersion,
    settings: GraphSettings,
    body: ExecuteBody,
    preset_id: str | None,
    known: graphs.KnownCredentials = MappingProxyType({}),
) -> RunRow:
    """The row of a run that a user asks for. What can't begin is refused here, before anything is stored. What is
    `known` of credentials is not asked again."""
    allowed = get_settings().run_deadline_seconds
    if body.deadline_seconds is not None and body.deadline_seconds > allowed:
        raise DeadlineInvalid.above(allowed, body.deadline_seconds)
    request = RunRequest(
        inputs=body.inputs,
        credential_inputs=body.credentials_inputs,
        human_in_the_loop_safe_mode=settings.human_in_the_loop_safe_mode,
        sensitive_action_safe_mode=settings.sensitive_action_safe_mode,
    )
    created = now()
    usual = allowed if settings.run_deadline_seconds is UNSET else min(settings.run_deadline_seconds, allowed)
    deadline = created + timedelta(seconds=body.deadline_seconds or usual)
    return await draft(new_id(), user_id, graph, request, created, deadline, preset_id, known=known)


async def announce(*rows: RunRow) -> None:
    """Wake workers and the dashboards. What is committed is the truth: what fails here is made up for by the sweep."""
    metrics.ACCEPTED.inc(len(rows))
    try:
        async with asyncio.timeout(ANNOUNCE_SECONDS):
            await _announcements.ask(rows)
    except Exception as error:
        # The runs are accepted whatever Redis does, so the answer must not say otherwise.
        _log.warning("runs_not_announced", run_id=rows[0].id, runs=len(rows), reason=str(error))


async def _announce_many(asked: list[Sequence[RunRow]]) -> list[None]:
    """In one round trip, and with as many rings as there are runs, so that workers take them together, too."""
    records = [
        RunRecord(user_id=row.user_id, graph_id=row.graph_id, run_id=row.id, seq=0, body=b"[]")
        for rows in asked
        for row in rows
    ]
    async with asyncio.timeout(ANNOUNCE_SECONDS):
        await events.publish(records, partial(control.add_ring, rings=len(records)))
    return [None] * len(asked)


_announcements = Gathering(_announce_many, MOST_AT_ONCE)
