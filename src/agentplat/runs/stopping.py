"""Stopping acts on the record: whoever holds a run hears of it, and whoever asks ends the runs that nobody holds."""

import asyncio
from contextlib import suppress
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


async def stop_tree(user_id: str, run_id: str, graph_id: str | None = None) -> bool:
    """Have a run and all runs below it stopped. False where there is nothing (any more) to stop.

    Those that no worker holds are final when this returns.
    """
    stopping = await queries.request_stop(user_id, run_id, now(), graph_id)
    for one in stopping:
        try:
            await control.send_stop(one)
        except Exception as error:
            # The request is recorded: a holder that isn't told finds it with its next heartbeat.
            _log.warning("stop_not_sent", run_id=one, reason=str(error))
    for one in stopping:
        await ending.terminate(one)
    return bool(stopping)


async def wait_for_end(user_id: str, run_id: str) -> RunRow | None:
    """The run once it is final, or as it is after some seconds; a worker that dies meanwhile is not waited for."""
    until = monotonic() + STOP_SECONDS
    with waiting().expecting(run_id) as over:
        while True:
            row = await queries.get(user_id, run_id)
            if row is None or row.status in FINAL or monotonic() > until:
                return row
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await over.wait()
            if not over.is_set():
                await ending.terminate(run_id)
