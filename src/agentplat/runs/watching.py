"""What event streams ask about runs: where they stand, and which of them have gone on unheard."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from msgspec import Struct

from agentplat.infra.db import db
from agentplat.runs import queries
from agentplat.runs.models import RunRow, Segment

# One statement of each kind answers for all that a process watches; this bounds what a channel may hold.
MAX_RUNS = 10_000

_POSITION = """
    r.id, r.user_id, r.graph_id, r.created_at,
    COALESCE((SELECT max(j.seq) FROM journal j
              WHERE j.run_id = r.id AND j.run_day = (r.created_at AT TIME ZONE 'UTC')::date), 0) AS row_seq
"""


class Position(Struct, frozen=True, kw_only=True):
    """How far a run's journal goes: `row_seq` is the number of the first message of its last row, 0 if it has none."""

    id: str
    user_id: str
    graph_id: str
    created_at: datetime
    row_seq: int

    @property
    def day(self) -> date:
        return self.created_at.astimezone(UTC).date()


async def read_rows(row: RunRow, after: int, limit: int) -> list[Segment]:
    """The next journal rows of a run behind the row that begins with message `after`, whole and in order."""
    return await queries.read_journal(row.id, row.created_at.astimezone(UTC).date(), after, limit)


async def position_of(user_id: str, run_id: str) -> list[Position]:
    """Of one run of the user's, unless it is final. Nothing for an unknown or foreign one."""
    return _positions(
        await db().fetch(
            f"""
            SELECT {_POSITION} FROM runs r
            WHERE r.id = $2 AND r.user_id = $1 AND r.status IN ('QUEUED', 'RUNNING', 'REVIEW') AND NOT r.is_deleted
            """,
            user_id,
            run_id,
        )
    )


async def own(user_id: str, run_ids: Sequence[str], graph_id: str | None = None) -> dict[str, str]:
    """Those of the runs that are the user's (and of that graph), each with its graph."""
    rows = await db().fetch(
        """
        SELECT id, graph_id FROM runs
        WHERE id = ANY($2::text[]) AND user_id = $1 AND ($3::text IS NULL OR graph_id = $3) AND NOT is_deleted
        """,
        user_id,
        list(run_ids),
        graph_id,
    )
    return {row["id"]: row["graph_id"] for row in rows}


async def positions(user_id: str, graph_id: str | None = None) -> list[Position]:
    """Of the user's runs (of one graph) that are not final, newest first, as far as they are not too many."""
    # One branch for each status, because each has an index of its own.
    branches = " UNION ALL ".join(
        f"""
        SELECT {_POSITION} FROM runs r
        WHERE r.status = '{status}' AND r.user_id = $1 AND ($2::text IS NULL OR r.graph_id = $2) AND NOT r.is_deleted
        """
        for status in ("QUEUED", "RUNNING", "REVIEW")
    )
    return _positions(await db().fetch(f"{branches} ORDER BY created_at DESC LIMIT {MAX_RUNS}", user_id, graph_id))


async def moved(known: Sequence[Position]) -> list[str]:
    """Those of the runs that are final, or have rows behind the known position."""
    rows = await db().fetch(
        """
        SELECT w.id FROM unnest($1::text[], $2::date[], $3::int[]) AS w (id, day, seq) JOIN runs r ON r.id = w.id
        WHERE r.status IN ('COMPLETED', 'FAILED', 'TERMINATED')
            OR EXISTS (SELECT FROM journal j WHERE j.run_id = w.id AND j.run_day = w.day AND j.seq > w.seq)
        """,
        [one.id for one in known],
        [one.day for one in known],
        [one.row_seq for one in known],
    )
    return [row["id"] for row in rows]


async def begun(channels: Sequence[tuple[str, str | None]], since: datetime) -> list[Position]:
    """Runs of these users (and graphs, where one is named) that were accepted since then, oldest first."""
    return _positions(
        await db().fetch(
            f"""
            SELECT DISTINCT r.id, r.user_id, r.graph_id, r.created_at, 0 AS row_seq
            FROM unnest($1::text[], $2::text[]) AS c (user_id, graph_id)
            JOIN runs r ON r.user_id = c.user_id AND (c.graph_id IS NULL OR r.graph_id = c.graph_id)
            WHERE r.created_at >= $3 AND NOT r.is_deleted
            ORDER BY r.created_at LIMIT {MAX_RUNS}
            """,
            [user_id for user_id, _ in channels],
            [graph_id for _, graph_id in channels],
            since,
        )
    )


def _positions(rows: Sequence[Any]) -> list[Position]:
    return [Position(**row) for row in rows]
