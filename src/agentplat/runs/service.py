"""Runs as users know them: start, look at, stop, delete."""

import asyncio
from contextlib import suppress

import msgspec

from agentplat.credits import service as credits
from agentplat.engine.state import FINAL, Status
from agentplat.events import facts
from agentplat.graphs import service as graphs
from agentplat.infra.clock import now
from agentplat.infra.errors import AppError
from agentplat.infra.ids import is_id
from agentplat.infra.paging import page_of
from agentplat.infra.telemetry import get_logger
from agentplat.infra.uow import unit_of_work
from agentplat.runs import (
    acceptance,
    idempotency,
    listing,
    queries,
    retention,
    stopping,
    storing,
    trying,
    turns,
    view,
    watching,
)
from agentplat.runs.errors import InsufficientBalance, RunNotFound
from agentplat.runs.events import RunRequested
from agentplat.runs.models import (
    Accepted,
    ExecuteBody,
    RunMeta,
    RunPage,
    RunRow,
    RunWithNodes,
    StartedRun,
)
from agentplat.runs.replay import machine_of, replay
from agentplat.runs.waiting import hearing_ends, waiting

MAX_LISTED = 250
# A scrape that takes longer is given up by most who scrape.
GAUGES_SECONDS = 2.0

__all__ = [
    "DATABASE_AWAY",
    "IN_USE",
    "Position",
    "Retired",
    "accept",
    "announce",
    "begun",
    "check",
    "delete",
    "enlist",
    "execute_block",
    "find",
    "gauges",
    "get",
    "hearing_ends",
    "list_",
    "machine_of",
    "microseconds",
    "moved",
    "node_members",
    "outcome",
    "own",
    "page",
    "position_of",
    "positions",
    "read_rows",
    "retire",
    "row_members",
    "run_members",
    "start",
    "stop",
]

_log = get_logger(__name__)
_encoder = msgspec.json.Encoder()
_started_runs = msgspec.json.Decoder(StartedRun)


async def start(user_id: str, graph_id: str, version: int, body: ExecuteBody, preset_id: str | None = None) -> RunMeta:
    """Accept a run. When this returns the run is committed, and whatever happens it reaches a final status."""
    return (await accept(user_id, graph_id, version, body, preset_id)).run


async def accept(
    user_id: str, graph_id: str, version: int, body: ExecuteBody, preset_id: str | None, key: str | None = None
) -> Accepted:
    """Start a run, at most once under an idempotency key."""
    if key is None:
        row = await _prepared(user_id, graph_id, version, body, preset_id)
        await storing.store_with_others(row)
        return await _accepted(row, body)
    # Asked before anything is checked: what was accepted stays accepted, also when the balance is gone since.
    fingerprint = idempotency.fingerprint(graph_id, version, preset_id, body)
    if (known := await _known(user_id, key)) is None:
        try:
            row = await _prepared(user_id, graph_id, version, body, preset_id)
        except AppError:
            # The same request may have been accepted meanwhile, and its run have spent what this one asks for.
            if (known := await _known(user_id, key)) is None:
                raise
        else:
            response = _encoder.encode(view.started_run(row))
            wanted = idempotency.Claim(fingerprint=fingerprint, run_id=row.id, response=response)
            async with unit_of_work():
                known = (await idempotency.claim(user_id, {key: wanted}))[key]
                if known == wanted:
                    await storing.store_one(row)
            if known == wanted:
                return await _accepted(row, body)
    known.check(fingerprint)
    return Accepted(run=_started_runs.decode(known.response), replayed=True)


async def _accepted(row: RunRow, body: ExecuteBody) -> Accepted:
    await acceptance.announce(row)
    if body.source is not None:
        await facts.tell(RunRequested(user_id=row.user_id, source=body.source))
    return Accepted(run=view.started_run(row))


async def _known(user_id: str, key: str) -> idempotency.Claim | None:
    return (await idempotency.find(user_id, [key])).get(key)


async def _prepared(user_id: str, graph_id: str, version: int, body: ExecuteBody, preset_id: str | None) -> RunRow:
    if await credits.balance(user_id) <= 0:
        raise InsufficientBalance
    return await _draft(user_id, graph_id, version, body, preset_id)


async def _draft(
    user_id: str, graph_id: str, version: int | None, body: ExecuteBody, preset_id: str | None = None
) -> RunRow:
    graph, settings = await graphs.runnable(user_id, graph_id, version)
    return await acceptance.draft_of(user_id, graph, settings, body, preset_id)


async def get(user_id: str, graph_id: str, run_id: str, wait: float = 0) -> RunWithNodes:
    """A run with outputs and nodes, once it is final or after `wait` seconds.

    A final one is one row, so it doesn't need its journal, which may be gone; one that is going on is folded from it.
    """
    row = await _settled(user_id, graph_id, run_id, wait)
    if row.status in FINAL:
        return view.stored_run(row)
    machine, _ = await replay(row)
    position = await turns.position(row) if row.status == Status.QUEUED else None
    return view.live_run_with_nodes(row, machine, view.microseconds(now()), position)


async def outcome(run: RunMeta, wait: float) -> StartedRun:
    """A run that was just started, with its outputs once it is final, or as it is after `wait` seconds."""
    return view.started_run(await _settled(run.user_id, run.graph_id, run.id, wait))


async def _settled(user_id: str, graph_id: str, run_id: str, wait: float) -> RunRow:
    """The run's row once it is final, or after `wait` seconds."""
    if not is_id(run_id) or not is_id(graph_id):
        raise RunNotFound(run_id)
    if not wait:
        return await _row(user_id, graph_id, run_id)
    with waiting().expecting(run_id) as over:
        row = await _row(user_id, graph_id, run_id)
        if row.status in FINAL:
            return row
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await over.wait()
    return await _row(user_id, graph_id, run_id)


async def _row(user_id: str, graph_id: str, run_id: str) -> RunRow:
    row = await queries.get(user_id, run_id, graph_id)
    if row is None:
        raise RunNotFound(run_id)
    return row


async def list_(user_id: str, size: int = MAX_LISTED, before: str | None = None) -> list[RunMeta]:
    """The user's newest runs, or those that are older than the run `before`."""
    rows = await listing.of_user(user_id, size, before) if before is None or is_id(before) else None
    if rows is None:
        raise RunNotFound(before or "")
    return [view.stored_meta(row) for row in rows]


async def page(user_id: str, graph_id: str, number: int, size: int) -> RunPage:
    """One page of a graph's runs, newest first. Pages count from 1."""
    offset = (number - 1) * size
    rows, total = await listing.of_graph(user_id, graph_id, offset, size) if is_id(graph_id) else ([], 0)
    return RunPage(
        executions=[view.stored_meta(row) for row in rows],
        pagination=page_of(total, number, size),
    )


async def stop(user_id: str, graph_id: str, run_id: str) -> RunMeta | None:
    """End a run and all runs below it: at once where no worker has them, else as soon as the worker hears of it.

    Answers with the state after the stop; None where there is nothing (any more) to stop.
    """
    could_exist = is_id(run_id) and is_id(graph_id)
    if not could_exist or not await stopping.stop_trees(user_id, [run_id], graph_id):
        return None
    row = (await stopping.wait_for_ends(user_id, [run_id])).get(run_id)
    return None if row is None else view.stored_meta(row)


async def delete(user_id: str, run_id: str) -> None:
    """Hide a run from every answer. One that is going on goes on."""
    if not is_id(run_id) or not await listing.hide(user_id, run_id):
        raise RunNotFound(run_id)


# For who executes a block without a run


execute_block = trying.execute


# For who starts runs on behalf of users


announce = acceptance.announce


async def check(user_id: str, graph_id: str, version: int | None, body: ExecuteBody) -> int:
    """The version that such a run would use. Raises what would be wrong with it, whatever the balance."""
    return (await _draft(user_id, graph_id, version, body)).graph_version


async def enlist(user_id: str, graph_id: str, version: int, body: ExecuteBody) -> RunRow:
    """Accept a run within the caller's unit of work, so that it is stored with what else that stores, or not at all.
    To be announced when that is committed."""
    row = await _prepared(user_id, graph_id, version, body, None)
    await storing.store_one(row)
    return row


# For event streams, which fold runs themselves


find = queries.find
own = watching.own
DATABASE_AWAY = queries.DATABASE_AWAY
Position = watching.Position
read_rows = watching.read_rows
positions = watching.positions
position_of = watching.position_of
moved = watching.moved
begun = watching.begun
microseconds = view.microseconds
node_members = view.node_members
row_members = view.row_members
run_members = view.run_members

# For those who look at what a user does


activity = queries.activity
is_over = queries.is_over


# For the operator


IN_USE = retention.IN_USE
Retired = retention.Retired
retire = retention.retire


async def gauges() -> list[tuple[str, str, float]]:
    """Name, meaning and value of what metrics say of all runs. Nothing where the database doesn't answer soon."""
    try:
        async with asyncio.timeout(GAUGES_SECONDS):
            waiting, places = await turns.load()
    except Exception as error:
        # What the process itself counts must be seen above all when the database fails, in whatever way.
        _log.warning("gauges_not_read", reason=str(error))
        return []
    return [
        ("agentplat_runs_waiting", "Runs that wait for their turn, the same on every server.", waiting),
        ("agentplat_run_places_used", "Places of running runs, the same on every server.", places),
    ]
