"""Whose turn it is: the order in which runs that wait begin, and how many of them may go on at once.

- A run that goes on holds a *place*, a number from 1 to the limit. A unique index says that no two running runs of one
  user and graph have the same, so whatever claims come at once, there are never more than the limit. A place is given
  back by ceasing to be RUNNING: no count is kept that could drift. A run that waits for its sub-runs keeps its place;
  one in REVIEW has none. Sub-runs need none, since a parent that keeps its place while it waits for one that gets none
  would wait for ever; nor does a run that is only claimed to be ended.
- Who waits, waits as a row, in the *lane* of its user and graph, in order of acceptance. Sub-runs of a user have one
  lane together, which comes first: what was begun is brought to its end before something else begins.
- A free worker goes round the users in the order of their ids, from the one it served last, and takes one run of each:
  the longest waiting one whose lane has a free place. So nobody waits for more than one run of each other user, however
  many those have waiting.

Several runs that are taken at once are those that would have been taken one by one, in that order.

Both ways round are skip scans of the index `runs_waiting`: they look at users and lanes, never at the runs behind them.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

import asyncpg

from agentplat.infra.db import db
from agentplat.runs.models import RunRow
from agentplat.runs.queries import COLUMNS

# Counting them takes some milliseconds.
MOST_COUNTED = 100_000
# As in the index `runs_waiting`.
_LANE = "(CASE WHEN r.parent_id IS NULL THEN r.graph_id ELSE '' END)"


def _free_places(user: str, graph: str, places: str) -> str:
    """The free places of a lane, as a query."""
    return f"""
            SELECT generate_series(1, {places}::int)
            EXCEPT
            SELECT taken.place FROM runs taken
            WHERE taken.user_id = {user} AND taken.graph_id = {graph} AND taken.status = 'RUNNING'
                AND taken.place IS NOT NULL
    """


# A run that begins needs a place. One that is past its deadline, or to be stopped, is only taken to be ended.
_NEEDS_PLACE = (
    "r.status = 'QUEUED' AND r.parent_id IS NULL AND r.stop_requested_at IS NULL AND r.deadline > now() "
    "AND $5::int IS NOT NULL"
)
_CLAIM = f"""
    WITH free AS (
        SELECT r.id AS run_id, (
            -- Any, chosen at random, so that two who choose at once seldom choose the same.
            SELECT n FROM ({_free_places("r.user_id", "r.graph_id", "$5")}) AS free (n) ORDER BY random() LIMIT 1
        ) AS free_place
        FROM runs r WHERE r.id = $1
    )
    UPDATE runs r
    SET status = 'RUNNING', started_at = COALESCE(started_at, $4), fence = fence + 1,
        lease_owner = $2, lease_until = now() + $3,
        place = CASE WHEN r.status = 'RUNNING' THEN r.place WHEN {_NEEDS_PLACE} THEN free_place END
    FROM free
    WHERE r.id = free.run_id AND (lease_until IS NULL OR lease_until < now())
        AND (status IN ('QUEUED', 'RUNNING')
            OR (status = 'REVIEW' AND (stop_requested_at IS NOT NULL OR deadline < now())))
        AND (free_place IS NOT NULL OR NOT ({_NEEDS_PLACE}))
    RETURNING {COLUMNS}
"""


# The users that have runs waiting, from the one after user $1, all the way round; number 0 is only where that begins.
_TURNS = """
    turns (user_id, wrapped, number) AS (
        SELECT $1::text COLLATE "C", false, 0
        UNION ALL
        SELECT next.user_id, next.wrapped, t.number + 1
        FROM turns t CROSS JOIN LATERAL (
            (SELECT r.user_id, t.wrapped AS wrapped FROM runs r
             WHERE r.status = 'QUEUED' AND r.user_id > t.user_id ORDER BY r.user_id LIMIT 1)
            UNION ALL
            (SELECT r.user_id, true FROM runs r
             WHERE r.status = 'QUEUED' AND NOT t.wrapped ORDER BY r.user_id LIMIT 1)
            ORDER BY wrapped LIMIT 1
        ) next
        WHERE NOT (next.wrapped AND next.user_id > $1)
    )
"""
# The lanes of user `t` in which runs wait, with the time when the first of each was accepted.
_LANES = f"""
            lanes AS (
                (SELECT {_LANE} AS lane, r.created_at FROM runs r
                 WHERE r.status = 'QUEUED' AND r.user_id = t.user_id
                 ORDER BY {_LANE}, r.created_at LIMIT 1)
                UNION ALL
                SELECT next.lane, next.created_at
                FROM lanes l CROSS JOIN LATERAL (
                    SELECT {_LANE} AS lane, r.created_at FROM runs r
                    WHERE r.status = 'QUEUED' AND r.user_id = t.user_id AND {_LANE} > l.lane
                    ORDER BY {_LANE}, r.created_at LIMIT 1
                ) next
            )
"""


@cache
def claim_next_sql(places: int, most: int) -> str:
    """The statement that takes the runs whose turn it is, $5 but never more than `most`, for a worker that last served
    user $1.

    Each of its rows is a run that was chosen, in turn; what is behind `turn`, its user, is NULL where somebody else is
    just taking runs of that lane. `places` and `most` are no parameters, because not knowing them Postgres would plan
    the statement anew each time, which takes longer than to execute it.

    Who takes several runs takes several places, and two who did so at once in one lane would wait for each other. So
    whoever can't lock the first run of a lane takes nothing of it.
    """
    return f"""
    WITH RECURSIVE {_TURNS}, served AS (
        SELECT t.number, t.user_id, theirs.*
        FROM turns t CROSS JOIN LATERAL (
            SELECT array_agg(id) AS ids, array_agg(lane) AS lanes, array_agg(nth) AS nths, array_agg(n) AS places
            FROM (
                WITH RECURSIVE {_LANES}
                SELECT run.id, l.lane, run.nth, place.n
                FROM lanes l CROSS JOIN LATERAL (
                    SELECT r.id, r.created_at, row_number() OVER (ORDER BY r.created_at, r.id) AS nth FROM runs r
                    WHERE r.status = 'QUEUED' AND r.user_id = t.user_id AND {_LANE} = l.lane
                    ORDER BY r.created_at, r.id LIMIT {most}
                ) run LEFT JOIN LATERAL (
                    SELECT n, row_number() OVER () AS nth
                    FROM ({_free_places("t.user_id", "l.lane", str(places))}) AS free (n)
                    WHERE l.lane <> '' LIMIT {most}
                ) place ON place.nth = run.nth
                WHERE l.lane = '' OR place.n IS NOT NULL
                ORDER BY l.lane <> '', run.created_at, run.id LIMIT {most}
            ) first
            HAVING count(*) > 0
        ) theirs
        WHERE t.number > 0
        LIMIT {most}
    ), chosen AS MATERIALIZED (
        SELECT s.user_id, s.number, one.*
        FROM served s CROSS JOIN LATERAL unnest(s.ids, s.lanes, s.nths, s.places)
            WITH ORDINALITY AS one (run_id, lane, nth, place, round)
        ORDER BY one.round, s.number LIMIT $5::int
    ), locked AS MATERIALIZED (
        -- The status is asked for in a way that keeps Postgres from reading all of `runs_waiting` for these ids.
        SELECT r.id FROM runs r WHERE r.id = ANY(ARRAY(SELECT run_id FROM chosen)) AND r.status || '' = 'QUEUED'
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE runs r
        SET status = 'RUNNING', started_at = COALESCE(started_at, $4), fence = fence + 1,
            lease_owner = $2, lease_until = now() + $3, place = c.place
        FROM chosen c
        WHERE r.id = ANY(ARRAY(SELECT id FROM locked)) AND r.id = c.run_id AND (c.user_id, c.lane) IN (
            SELECT head.user_id, head.lane FROM chosen head JOIN locked ON locked.id = head.run_id WHERE head.nth = 1)
        RETURNING r.*
    )
    SELECT c.user_id AS turn, {", ".join(f"claimed.{name}" for name in COLUMNS.split(", "))}
    FROM chosen c LEFT JOIN claimed ON claimed.id = c.run_id
    ORDER BY c.round, c.number
    """


async def claim(run_id: str, owner: str, lease: timedelta, now: datetime, places: int | None = None) -> RunRow | None:
    """Take the run if it waits for somebody: queued, running without a lease, or in review and to be stopped.

    A queued one must find one of `places` free; None is for who only ends it.
    """
    while True:
        with suppress(asyncpg.UniqueViolationError):  # somebody took that place meanwhile: there may be another
            found = await db().fetchrow(_CLAIM, run_id, owner, lease, now, places)
            return None if found is None else RunRow(**found)


async def claim_to_end(run_ids: Sequence[str], owner: str, lease: timedelta, now: datetime) -> list[RunRow]:
    """Take those of the runs that `claim` would take for who only ends them, in one statement."""
    rows = await db().fetch(
        f"""
        WITH locked AS MATERIALIZED (
            -- In the order of their ids, so that two who do this at once don't wait for each other.
            SELECT id FROM runs
            WHERE id = ANY($1::text[]) AND (lease_until IS NULL OR lease_until < now())
                AND (status IN ('QUEUED', 'RUNNING')
                    OR (status = 'REVIEW' AND (stop_requested_at IS NOT NULL OR deadline < now())))
            ORDER BY id FOR UPDATE
        )
        UPDATE runs r
        SET status = 'RUNNING', started_at = COALESCE(started_at, $4), fence = fence + 1,
            lease_owner = $2, lease_until = now() + $3, place = CASE WHEN r.status = 'RUNNING' THEN r.place END
        FROM locked WHERE r.id = locked.id
        RETURNING {", ".join(f"r.{name}" for name in COLUMNS.split(", "))}
        """,
        list(run_ids),
        owner,
        lease,
        now,
    )
    return [RunRow(**row) for row in rows]


class Turns(NamedTuple):
    """Runs that were claimed in their turns, the user whose turn was the last, and whether more may be waiting."""

    rows: list[RunRow]
    served: str
    more: bool


async def claim_next(served: str, places: int, owner: str, lease: timedelta, now: datetime, most: int = 1) -> Turns:
    """Take up to `most` runs whose turn it is after a run of user `served`, in one statement."""
    usual = 1 << (most - 1).bit_length()  # powers of two, so that there are few statements to plan
    while True:
        with suppress(asyncpg.UniqueViolationError):
            found = await db().fetch(claim_next_sql(places, usual), served, owner, lease, now, most)
            rows = []
            for one in found:
                members = dict(one)
                served = members.pop("turn")
                if members["id"] is not None:  # else somebody else is just taking it
                    rows.append(RunRow(**members))
            if rows or not found:
                return Turns(rows, served, len(found) == most or len(rows) < len(found))


async def load() -> tuple[int, int]:
    """How many runs of all users wait for their turn, and how many places are taken; no more than MOST_COUNTED each."""
    row = await db().fetchrow(
        """
        SELECT (SELECT count(*) FROM (SELECT FROM runs WHERE status = 'QUEUED' LIMIT $1) AS w) AS waiting,
            (SELECT count(*) FROM (SELECT FROM runs WHERE status = 'RUNNING' AND place IS NOT NULL LIMIT $1) AS p)
                AS places
        """,
        MOST_COUNTED,
    )
    return row["waiting"], row["places"]


async def position(row: RunRow) -> int:
    """Where a run that waits stands in its lane, from 1."""
    return int(
        await db().fetchval(
            f"""
            SELECT 1 + count(*) FROM runs r
            WHERE r.status = 'QUEUED' AND r.user_id = $1 AND {_LANE} = $2 AND (r.created_at, r.id) < ($3, $4)
            """,
            row.user_id,
            row.graph_id if row.parent_id is None else "",
            row.created_at,
            row.id,
        )
    )
