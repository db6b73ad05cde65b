"""From a run's machine to what the contract shows of it. Pure: the same fold gives answers and events."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from agentplat.engine.activation import Activation
from agentplat.engine.machine import RunMachine
from agentplat.engine.state import FINAL
from agentplat.runs.models import (
    NodeExecution,
    NodeTimings,
    RunMeta,
    RunRequest,
    RunRow,
    RunWithNodes,
    StartedRun,
    Stats,
    Timings,
    as_stored,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_requests = msgspec.json.Decoder(RunRequest)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def microseconds(moment: datetime) -> int:
    """The machine's times: microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def activation_id(run_id: str, number: int) -> str:
    """The id of a run's n-th activation: the run's own with the number folded into its last twelve digits.

    Derived, so that replaying a journal gives the same ids; the other 74 random bits keep runs apart.
    """
    return f"{run_id[:24]}{int(run_id[24:], 16) ^ number:012x}"


def decode_request(document: bytes) -> RunRequest:
    return _requests.decode(document)


def node_members(row: RunRow, act: Activation) -> dict[str, Any]:
    """The members of a NodeExecution, as it stands. Until its input is assembled it shows what has arrived so far."""
    return {
        "user_id": row.user_id,
        "graph_id": row.graph_id,
        "graph_version": row.graph_version,
        "graph_exec_id": row.id,
        "node_exec_id": activation_id(row.id, act.number),
        "node_id": act.node.id,
        "block_id": act.node.spec.id,
        "status": act.status,
        "input_data": act.received if act.data is None else act.data,
        "output_data": act.outputs,
        "add_time": moment(act.added_at),
        "queue_time": None if act.queued_at is None else moment(act.queued_at),
        "start_time": None if act.started_at is None else moment(act.started_at),
        "end_time": None if act.ended_at is None else moment(act.ended_at),
    }


def node_executions(
    row: RunRow, machine: RunMachine, recorded: Mapping[int, int] = MappingProxyType({})
) -> list[NodeExecution]:
    """All activations, by queue time; those never queued last, by the time they began.

    `recorded` are the times when outcomes were recorded, by activation, as far as that is known.
    """
    return [
        NodeExecution(**node_members(row, act), timings=_node_timings(act, recorded.get(act.number)))
        for act in sorted(machine.activations, key=_queue_order)
    ]


def _node_timings(act: Activation, recorded_at: int | None) -> NodeTimings:
    return NodeTimings(
        waited=_between(act.queued_at, act.started_at),
        executed=_between(act.started_at, act.ended_at),
        recorded=_between(act.ended_at, recorded_at),
    )


def _between(first: int | None, second: int | None) -> float | None:
    """In seconds, never below 0, whatever the clocks of different machines say."""
    return None if first is None or second is None else max(0, second - first) / 1e6


def _queue_order(act: Activation) -> tuple[bool, int, int]:
    queued = act.queued_at
    return (queued is None, act.added_at if queued is None else queued, act.number)


def stats(machine: RunMachine, now: int) -> Stats:
    """The figures so far; of a final run its figures."""
    return Stats(
        cost=machine.cost,
        duration=machine.worked.read(now) / 1e6,
        node_exec_time=machine.nodes_walltime / 1e6,
        node_exec_count=machine.node_count,
        node_error_count=machine.error_count,
        error=machine.error,
    )


def timed_stats(row: RunRow, machine: RunMachine, now: int) -> Stats:
    """The figures with the run's timings. Looks at all activations, so it is nothing for every event of a run."""
    return replace(stats(machine, now), timings=timings(row, machine))


def timings(row: RunRow, machine: RunMachine) -> Timings:
    """Where the time went so far. Looks at all activations."""
    began = min((act.started_at for act in machine.activations if act.started_at is not None), default=None)
    return Timings(
        accepted=row.created_at,
        leased=None if row.started_at is None else _seconds(row, microseconds(row.started_at)),
        first_node_started=_seconds(row, began),
        finished=_seconds(row, machine.ended_at),
    )


def failed_stats(row: RunRow, error: str, at: datetime) -> Stats:
    """The figures of a run that has no machine."""
    timings = Timings(
        accepted=row.created_at,
        leased=None if row.started_at is None else _seconds(row, microseconds(row.started_at)),
        first_node_started=None,
        finished=_seconds(row, microseconds(at)),
    )
    return Stats(error=error, timings=timings)


def _seconds(row: RunRow, at: int | None) -> float | None:
    """From the run's acceptance."""
    return _between(microseconds(row.created_at), at)


def inputs_taken(machine: RunMachine) -> dict[str, Any]:
    """The values that the run's input nodes begin with, by input name."""
    return {
        act.node.input_name: act.data["value"]
        for act in machine.activations
        if act.node.input_name is not None and act.data is not None and act.data.get("value") is not None
    }


def stored_meta(row: RunRow) -> RunMeta:
    """A run from its row alone."""
    return RunMeta(**_stored(row))


def listed_run(row: RunRow) -> StartedRun:
    """A run from its row alone, without outputs."""
    return StartedRun(**_stored(row))


def started_run(row: RunRow) -> StartedRun:
    """A run from its row alone, with its outputs once it is final."""
    outputs = as_stored(row.outputs or b"{}") if row.status in FINAL else UNSET
    return StartedRun(**_stored(row), outputs=outputs)


def stored_run(row: RunRow) -> RunWithNodes:
    """A final run with everything, from its row alone."""
    return RunWithNodes(
        **_stored(row),
        outputs=as_stored(row.outputs or b"{}"),
        node_executions=as_stored(row.node_executions or b"[]"),
    )


def live_run_with_nodes(row: RunRow, machine: RunMachine, now: int, queue_position: int | None) -> RunWithNodes:
    """A run as far as its machine has come."""
    figures = timed_stats(row, machine, now)
    if queue_position is not None:
        figures = replace(figures, queue_position=queue_position)
    members = run_members(row, machine, now) | {"stats": figures}
    return RunWithNodes(**members, node_executions=node_executions(row, machine))


def _stored(row: RunRow) -> dict[str, Any]:
    request = _members.decode(row.request)
    return {
        "id": row.id,
        "user_id": row.user_id,
        "graph_id": row.graph_id,
        "graph_version": row.graph_version,
        # Lists leave out what is large.
        "inputs": request.get("shown"),
        "credential_inputs": request.get("credential_inputs"),
        "nodes_input_masks": request.get("nodes_input_masks"),
        "preset_id": row.preset_id,
        "status": row.status,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "is_shared": row.is_shared,
        "share_token": row.share_token,
        "stats": None if row.stats is None else as_stored(row.stats),
    }


def row_members(row: RunRow) -> dict[str, Any]:
    """The members of a Run, as its row has them."""
    return _stored(row) | {"outputs": as_stored(row.outputs or b"{}")}


def run_members(row: RunRow, machine: RunMachine, now: int) -> dict[str, Any]:
    """The members of a Run, as far as its machine has come."""
    return _stored(row) | {
        "status": machine.status,
        "started_at": None if machine.started_at is None else moment(machine.started_at),
        "ended_at": None if machine.ended_at is None else moment(machine.ended_at),
        "stats": stats(machine, now),
        "outputs": machine.outputs,
    }
