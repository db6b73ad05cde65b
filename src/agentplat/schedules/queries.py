"""Schedules and their firings in Postgres. Whose one is, is part of every statement that a user's request leads to.

A schedule is fired by whoever has its row locked. Locks are taken without waiting, so any number of schedulers share
what is due at once. The version of the graph is locked with it, because the run that is inserted will refer to it: who
deletes a graph has its rows first and the schedules after, and would otherwise wait for us while we wait for them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
from msgspec import Struct

from agentplat.infra.db import db
from agentplat.infra.uow import unit_of_work
from agentplat.schedules.models import Firing, FiringRow, MissedRuns, Outcome, ScheduleRow

# What a scheduler's machine that vanished in the middle of a batch had locked is free again after this.
IDLE_SECONDS = 30
# One DELETE of everything could take longer than a statement may.
DELETED_AT_ONCE = 10_000

_MEMBERS = (
    "id, user_id, graph_id, graph_version, name, cron, timezone, missed_runs, request, next_run_at, last_scheduled_at, "
    "last_run_id, last_outcome, pause_reason, created_at, updated_at"
)
_COLUMNS = ", ".join(f"s.{name}" for name in _MEMBERS.split(", ")) + ", g.name AS agent_name"
_FROM = "schedules s JOIN graph_versions g ON g.id = s.graph_id AND g.version = s.graph_version"
_NEWEST_FIRST = "ORDER BY s.created_at DESC, s.id DESC"


def claim_sql(only: bool = False) -> str:
    return f"""
    SELECT {_COLUMNS} FROM {_FROM}
    WHERE s.next_run_at <= $1 {"AND s.id = $3" if only else ""}
    ORDER BY s.next_run_at LIMIT $2
    FOR UPDATE OF s SKIP LOCKED FOR KEY SHARE OF g SKIP LOCKED
    """


def _row(found: Any) -> ScheduleRow:
    members = dict(found)
    outcome = members["last_outcome"]
    members["last_outcome"] = None if outcome is None else Outcome(outcome)
    return ScheduleRow(**{**members, "missed_runs": MissedRuns(members["missed_runs"])})


# --- for their owners


async def insert(row: ScheduleRow, most: int) -> bool | None:
    """False where the user has that many already; None where the graph has just been deleted."""
    try:
        async with unit_of_work():
            # By itself, and first: of two who come at once, the later one must count what the other has made.
            await db().execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", row.user_id)
            done = await db().execute(
                f"""
                INSERT INTO schedules ({_MEMBERS})
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
                WHERE (SELECT count(*) FROM schedules WHERE user_id = $2) < $17
                """,
                *(getattr(row, name) for name in _MEMBERS.split(", ")),
                most,
            )
    except asyncpg.ForeignKeyViolationError:
        return None
    return bool(done == "INSERT 0 1")


async def get(user_id: str, schedule_id: str) -> ScheduleRow | None:
    found = await db().fetchrow(
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE s.id = $2 AND s.user_id = $1", user_id, schedule_id
    )
    return _row(found) if found else None


async def lock(user_id: str, schedule_id: str, version: int | None = None) -> ScheduleRow | None:
    """The schedule, which nobody else changes or fires until the transaction ends. The version that it is to run (its
    present one unless another is given) is locked first: see above. Rows are found before any is locked, and finding
    this one takes having that version."""
    found = await db().fetchrow(
        f"""
        WITH version AS MATERIALIZED (
            SELECT g.id FROM graph_versions g WHERE g.user_id = $1 AND (g.id, g.version) = (
                SELECT graph_id, COALESCE($3, graph_version) FROM schedules WHERE id = $2 AND user_id = $1)
            FOR KEY SHARE
        )
        SELECT {_COLUMNS} FROM {_FROM} WHERE s.id = $2 AND s.user_id = $1 AND s.graph_id = (SELECT id FROM version)
        FOR UPDATE OF s
        """,
        user_id,
        schedule_id,
        version,
    )
    return _row(found) if found else None


async def list_of_user(user_id: str) -> list[ScheduleRow]:
    found = await db().fetch(f"SELECT {_COLUMNS} FROM {_FROM} WHERE s.user_id = $1 {_NEWEST_FIRST}", user_id)
    return [_row(one) for one in found]


async def list_of_graph(user_id: str, graph_id: str) -> list[ScheduleRow]:
    found = await db().fetch(
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE s.user_id = $1 AND s.graph_id = $2 {_NEWEST_FIRST}", user_id, graph_id
    )
    return [_row(one) for one in found]


async def update(row: ScheduleRow) -> ScheduleRow:
    """Store what its owner may change of a schedule, and read it. It has to be locked."""
    found = await db().fetchrow(
        f"""
        UPDATE schedules s SET graph_version = $3, name = $4, cron = $5, timezone = $6, missed_runs = $7, request = $8,
            next_run_at = $9, pause_reason = $10, updated_at = $11
        FROM graph_versions g
        WHERE s.id = $2 AND s.user_id = $1 AND g.id = s.graph_id AND g.version = $3
        RETURNING {_COLUMNS}
        """,
        row.user_id,
        row.id,
        row.graph_version,
        row.name,
        row.cron,
        row.timezone,
        row.missed_runs,
        row.request,
        row.next_run_at,
        row.pause_reason,
        row.updated_at,
    )
    return _row(found)


async def delete(user_id: str, schedule_id: str) -> bool:
    """Its firings go with it."""
    done = await db().execute("DELETE FROM schedules WHERE id = $2 AND user_id = $1", user_id, schedule_id)
    return bool(done == "DELETE 1")


async def firings(user_id: str, schedule_id: str, before: datetime | None, limit: int) -> list[Firing]:
    """The newest first."""
    rows = await db().fetch(
        """
        SELECT f.scheduled_at, f.fired_at, f.outcome, f.run_id, f.code, f.error
        FROM schedule_firings f JOIN schedules s ON s.id = f.schedule_id
        WHERE f.schedule_id = $2 AND s.user_id = $1 AND ($3::timestamptz IS NULL OR f.scheduled_at < $3)
        ORDER BY f.scheduled_at DESC LIMIT $4
        """,
        user_id,
        schedule_id,
        before,
        limit,
    )
    return [Firing(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]


# --- for schedulers


class Advance(Struct, frozen=True, kw_only=True):
    """Where a schedule stands after it was fired. The last firing is left as it is where there was none."""

    id: str
    next_run_at: datetime | None
    pause_reason: str | None
    last: FiringRow | None


async def claim(now: datetime, most: int, only: str | None = None) -> list[ScheduleRow]:
    """Lock what is due and nobody else has, the longest due first, until the transaction ends."""
    await db().execute(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
    found = await db().fetch(claim_sql(only is not None), now, most, *(() if only is None else (only,)))
    return [_row(one) for one in found]


async def next_due() -> datetime | None:
    """When the next schedule is due, whoever has it locked."""
    due: datetime | None = await db().fetchval("SELECT min(next_run_at) FROM schedules WHERE next_run_at IS NOT NULL")
    return due


async def record(firings: Sequence[FiringRow], advances: Sequence[Advance]) -> None:
    """A firing that is on record already is an error: nothing of this transaction happens then."""
    members = ("schedule_id", "scheduled_at", "fired_at", "outcome", "run_id", "code", "error")
    await db().execute(
        f"""
        INSERT INTO schedule_firings ({", ".join(members)})
        SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                             $7::text[])
        """,
        *([getattr(firing, name) for firing in firings] for name in members),
    )
    await db().execute(
        """
        UPDATE schedules s SET next_run_at = a.next_run_at, pause_reason = a.pause_reason,
            last_scheduled_at = COALESCE(a.scheduled_at, s.last_scheduled_at),
            last_run_id = CASE WHEN a.scheduled_at IS NULL THEN s.last_run_id ELSE a.run_id END,
            last_outcome = COALESCE(a.outcome, s.last_outcome)
        FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
            AS a (id, next_run_at, pause_reason, scheduled_at, run_id, outcome)
        WHERE s.id = a.id
        """,
        [one.id for one in advances],
        [one.next_run_at for one in advances],
        [one.pause_reason for one in advances],
        [one.last and one.last.scheduled_at for one in advances],
        [one.last and one.last.run_id for one in advances],
        [one.last and one.last.outcome for one in advances],
    )


# --- for the operator


async def count_firings(before: datetime) -> int:
    return int(await db().fetchval("SELECT count(*) FROM schedule_firings WHERE fired_at < $1", before))


async def delete_firings(before: datetime) -> int:
    """How many there were. Nothing depends on them: a schedule itself knows for which time it fired last."""
    deleted, count = 0, DELETED_AT_ONCE
    while count == DELETED_AT_ONCE:
        done = await db().execute(
            f"""
            DELETE FROM schedule_firings WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM schedule_firings WHERE fired_at < $1 LIMIT {DELETED_AT_ONCE} FOR UPDATE SKIP LOCKED))
            """,
            before,
        )
        count = int(done.removeprefix("DELETE "))
        deleted += count
    return deleted
