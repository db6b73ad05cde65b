"""Lists of runs, newest first: what they cost depends on what is shown, not on how many runs there are.

A user's list goes on behind a run that the client names. Pages of a graph's runs have numbers and a total, as the
contract wants it; so about every thousandth run is on record in `run_marks` with its rank, counted from the oldest run
up. The total is the rank of the newest mark and what has come since; a page begins less than a thousand runs behind
some mark. Ranks only change when a run is hidden. Marks are made by readers, of runs that are old enough for no older
ones to be committed any more.
"""

from typing import Any

from agentplat.infra.db import db
from agentplat.runs.models import RunRow
from agentplat.runs.queries import LISTED_COLUMNS

# How many runs lie between two marks, and how many new ones there may be before a reader makes further marks.
STEP = 1000
UNMARKED = 2 * STEP
# A run is committed within seconds of its `created_at`. Servers' clocks may differ, too.
SETTLED = "interval '5 minutes'"

# Outputs and nodes aren't shown, and fetching them would read them from the row's overflow storage.
_COLUMNS = LISTED_COLUMNS.replace("outputs, node_executions", "NULL AS outputs, NULL AS node_executions")

# Whoever makes marks or changes ranks waits for others who do, and looks after that.
_LOCK = "pg_advisory_xact_lock(hashtextextended('run_marks' || user_id || graph_id, 0))"

_NEWEST_MARK = """
    SELECT rank, created_at, id FROM run_marks WHERE user_id = $1 AND graph_id = $2 ORDER BY rank DESC LIMIT 1
"""
_OF_GRAPH = "user_id = $1 AND graph_id = $2 AND NOT is_deleted"
_BEHIND_NEWEST_MARK = """
    (created_at, id) > (COALESCE((SELECT created_at FROM newest), '-infinity'), COALESCE((SELECT id FROM newest), ''))
"""
_PAGE = f"""
    WITH newest AS MATERIALIZED ({_NEWEST_MARK}),
    counted AS MATERIALIZED (
        SELECT COALESCE((SELECT rank FROM newest), 0) AS marked,
            (SELECT count(*) FROM runs WHERE {_OF_GRAPH} AND {_BEHIND_NEWEST_MARK}) AS unmarked
    ), wanted AS MATERIALIZED (
        SELECT marked + unmarked - $3::bigint AS rank FROM counted
    ), start AS MATERIALIZED (
        SELECT rank, created_at, id FROM run_marks
        WHERE user_id = $1 AND graph_id = $2 AND rank >= (SELECT rank FROM wanted) ORDER BY rank LIMIT 1
    )
    SELECT marked, unmarked, page.* FROM counted LEFT JOIN LATERAL (
        SELECT {_COLUMNS} FROM runs
        WHERE {_OF_GRAPH} AND (created_at, id) <=
            (COALESCE((SELECT created_at FROM start), 'infinity'), COALESCE((SELECT id FROM start), ''))
        ORDER BY created_at DESC, id DESC
        OFFSET COALESCE((SELECT start.rank - wanted.rank FROM start, wanted), $3) LIMIT $4
    ) AS page ON (SELECT rank FROM wanted) > 0
    ORDER BY page.created_at DESC, page.id DESC
"""


async def of_user(user_id: str, limit: int, before: str | None = None) -> list[RunRow] | None:
    """The newest runs; or those older than the run `before`, None where the user has no such run."""
    behind = "(created_at, id) < ((SELECT created_at FROM last), (SELECT id FROM last))"
    rows = await db().fetch(
        f"""
        WITH last AS MATERIALIZED (SELECT created_at, id FROM runs WHERE id = $3 AND user_id = $1)
        SELECT page.*, EXISTS (SELECT FROM last) AS begun FROM (SELECT) AS one LEFT JOIN LATERAL (
            SELECT {_COLUMNS} FROM runs WHERE user_id = $1 AND NOT is_deleted AND {behind if before else "true"}
            ORDER BY created_at DESC, id DESC LIMIT $2
        ) AS page ON true
        ORDER BY page.created_at DESC, page.id DESC
        """,
        user_id,
        limit,
        before,
    )
    if before is not None and not rows[0]["begun"]:
        return None
    return _rows(rows, "begun")


async def of_graph(user_id: str, graph_id: str, offset: int, limit: int) -> tuple[list[RunRow], int]:
    """One page of a graph's runs, and how many there are in all."""
    rows = await db().fetch(_PAGE, user_id, graph_id, offset, limit)
    marked, unmarked = rows[0]["marked"], rows[0]["unmarked"]
    if unmarked > UNMARKED:
        await _mark(user_id, graph_id)
    return _rows(rows, "marked", "unmarked"), marked + unmarked


def _rows(found: list[Any], *others: str) -> list[RunRow]:
    """An empty page is one row without a run."""
    runs = [dict(row) for row in found if row["id"] is not None]
    for row in runs:
        for name in others:
            del row[name]
    return [RunRow(**row) for row in runs]


async def _mark(user_id: str, graph_id: str) -> None:
    async with db().transaction():
        await db().execute(f"SELECT {_LOCK} FROM (VALUES ($1, $2)) AS of (user_id, graph_id)", user_id, graph_id)
        await db().execute(
            f"""
            WITH newest AS MATERIALIZED ({_NEWEST_MARK}),
            unmarked AS (
                SELECT created_at, id, row_number() OVER (ORDER BY created_at, id) AS number FROM runs
                WHERE {_OF_GRAPH} AND {_BEHIND_NEWEST_MARK} AND created_at < now() - {SETTLED}
            )
            INSERT INTO run_marks (user_id, graph_id, rank, created_at, id)
            SELECT $1, $2, COALESCE((SELECT rank FROM newest), 0) + number, created_at, id
            FROM unmarked WHERE number % {STEP} = 0
            """,
            user_id,
            graph_id,
        )


async def hide(user_id: str, run_id: str) -> bool:
    """Leave a run out of every answer from now on. All newer ones of its graph move up by one."""
    async with db().transaction():
        await db().execute(f"SELECT {_LOCK} FROM runs WHERE id = $1 AND user_id = $2", run_id, user_id)
        return bool(
            await db().fetchval(
                """
                WITH hidden AS (
                    UPDATE runs SET is_deleted = true WHERE id = $1 AND user_id = $2 AND NOT is_deleted
                    RETURNING user_id, graph_id, created_at, id
                ), unmarked AS (
                    DELETE FROM run_marks WHERE id = (SELECT id FROM hidden)
                ), moved AS (
                    UPDATE run_marks AS mark SET rank = rank - 1 FROM hidden
                    WHERE mark.user_id = hidden.user_id AND mark.graph_id = hidden.graph_id
                        AND (mark.created_at, mark.id) > (hidden.created_at, hidden.id)
                )
                SELECT true FROM hidden
                """,
                run_id,
                user_id,
            )
        )
