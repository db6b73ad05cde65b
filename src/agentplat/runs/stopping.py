"""Stopping acts on the record: whoever holds a run hears of it, and whoever asks ends the runs that nobody holds."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from time import monotonic

from agentplat.engine.state import FINAL
from agentplat.infra.clock import now
from agentplat.infra.telemetry import get_logger
from agentplat.runs import control, ending, queries
from agentplat.runs.models import RunRow
from agentplat.runs.waiting import waiting

# How long a stop waits for the worker to say that the run has ended. The wish is on record either way.
STOP_SECONDS = 5.0
# How often it is looked whether the worker has lost its lease, or the news of the end.
RETRY_SECONDS = 0.25

_log = get_logger(__name__)


async def stop_trees(
    user_id: str, run_ids: Sequence[str], graph_id: str | None = None, *, hidden: bool = False
) -> set[str]:
    """Have runs and all runs below them stopped. Returns those of the given runs that were not final. Of those that
    the user has deleted nothing is known, unless `hidden` ones are meant too.

    Those that no worker holds are final when this returns.
    """
    stopping = await queries.request_stop(user_id, run_ids, now(), graph_id, hidden=hidden)
    if not stopping:
        return set()
    await carry_out(stopping)
    return set(stopping).intersection(run_ids)


async def carry_out(stopping: Sequence[str]) -> None:
    """Do what is on record: tell those who hold the runs, and end those that nobody holds."""
    try:
        await control.send_stops(stopping)
    except Exception as error:
        # The request is recorded: a holder that isn't told finds it with its next heartbeat.
        _log.warning("stops_not_sent", runs=len(stopping), reason=str(error))
    await ending.terminate(stopping)


async def wait_for_ends(user_id: str, run_ids: Sequence[str]) -> dict[str, RunRow]:
    """Runs once all are final, or as they are after some seconds; a worker that dies meanwhile is not waited for."""
    until = monotonic() + STOP_SECONDS
    with ExitStack() as stack:
        over = {run_id: stack.enter_context(waiting().expecting(run_id)) for run_id in run_ids}
        while True:
            rows = await queries.get_many(user_id, run_ids)
            going = [row.id for row in rows.values() if row.status not in FINAL]
            if not going or monotonic() > until:
                return rows
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await asyncio.gather(*(over[run_id].wait() for run_id in going))
            if left := [run_id for run_id in going if not over[run_id].is_set()]:
                await ending.terminate(left)
