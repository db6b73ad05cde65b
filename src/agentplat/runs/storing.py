"""Storing what users start: the commit that accepts a run.

Requests that come at the same time are stored by one statement, with one commit, before any of them is answered. Each
is judged as if it had come alone:

- How many runs may wait is counted per user.
- The statement waits for no lock that one of them may be held up by. A run refers to its graph, so one that is just
  being deleted would do that; its runs are left out, and stored alone.
- If Postgres refuses the statement for what is wrong with one of them, it has stored nothing. Then each is stored
  alone, and the one is refused.
"""

from collections.abc import Sequence

import asyncpg

from agentplat.graphs.errors import GraphNotFound
from agentplat.infra.errors import AppError
from agentplat.infra.gathering import Gathering
from agentplat.infra.serving import using_database
from agentplat.infra.settings import get_settings
from agentplat.runs import insertion, queries
from agentplat.runs.errors import TooManyWaiting
from agentplat.runs.models import RunRow

MOST_AT_ONCE = 100
# A larger request is stored alone, so that others needn't wait for its bytes to be written.
MOST_BYTES = 64 * 1024


async def store(rows: Sequence[RunRow]) -> dict[str, AppError]:
    """Store runs that users have started, within a transaction if there is one. Returns by id why a run was not."""
    most = get_settings().max_queued_per_user
    judged = await insertion.insert_many(rows, most)
    return {row.id: error for row in rows if (error := _refusal(row, judged.get(row.id), most))}


async def store_one(row: RunRow) -> None:
    """The same of one; raises why it was not."""
    for error in (await store([row])).values():
        raise error


async def store_with_others(row: RunRow) -> None:
    """The same, together with what others store at the same time. When this returns the run is committed."""
    fits = None
    if len(row.request) <= MOST_BYTES:
        with using_database():
            fits = await _gathering.ask(row)
    if fits is None:
        await store_one(row)
    elif not fits:
        raise TooManyWaiting(get_settings().max_queued_per_user)


def _refusal(row: RunRow, fits: bool | None, most: int) -> AppError | None:
    if fits is None:
        return GraphNotFound(row.graph_id, row.graph_version)
    return None if fits else TooManyWaiting(most)


async def _store_many(rows: list[RunRow]) -> list[bool | None]:
    """Whether there was room for each. None for those that are to be stored alone."""
    try:
        judged = await insertion.insert_many(rows, get_settings().max_queued_per_user, patient=False)
    except queries.DATABASE_AWAY:
        raise  # nobody knows whether they are stored, so nobody must try that again
    except asyncpg.PostgresError:
        judged = {}
    return [judged.get(row.id) for row in rows]


_gathering = Gathering(_store_many, MOST_AT_ONCE)
