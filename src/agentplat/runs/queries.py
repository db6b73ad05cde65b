"""Everything that runs say to the database. Hot statements are one round trip each.

The lease is the lock: a run may be written only by the holder of its current `fence`, a number that every claim raises.
`commits` checks it under FOR SHARE in the statement that writes, and a claim (in `turns`) needs the row for itself: a
holder that lost its lease can't add one more row, however late it wakes.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from agentplat.infra.db import DATABASE_AWAY as DATABASE_AWAY
from agentplat.infra.db import db
from agentplat.runs import spilling
from agentplat.runs.models import Activity, RunRow, Segment
from agentplat.runs.spilling import Handle

# What a RunRow is made of.
COLUMNS = (
    "id, user_id, graph_id, graph_version, preset_id, parent_id, status, request, created_at, started_at, ended_at, "
    "deadline, stop_requested_at, fence, root_id, parent_activation, depth, place, is_shared, share_token, stats, "
    "outputs, node_executions"
)


async def insert(row: RunRow, most_waiting: int | None = None, parent_fence: int | None = None) -> bool:
    """Store a run that was accepted. One that is there already stays: a sub-run's id follows from its parent.

    False where that many runs of the user wait already (requests that come at once may exceed the limit a little), and
    where the parent isn't held under `parent_fence` any more, or is to be stopped.
    """
    return bool(
        await db().fetchval(
            """
            WITH room AS (
                SELECT WHERE $14::int IS NULL OR NOT EXISTS (
                    SELECT FROM runs WHERE user_id = $2 AND status = 'QUEUED' OFFSET $14 - 1 LIMIT 1)
            ), parent AS (
                SELECT FROM runs
                WHERE id = $6 AND fence = $15 AND status = 'RUNNING' AND stop_requested_at IS NULL FOR SHARE
            ), allowed AS (
                SELECT FROM room WHERE $15::int IS NULL OR EXISTS (SELECT FROM parent)
            ), stored AS (
                INSERT INTO runs (id, user_id, graph_id, graph_version, preset_id, parent_id, root_id, status, request,
                                  created_at, deadline, parent_activation, depth)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM allowed
                ON CONFLICT (id) DO NOTHING
            )
            SELECT true FROM allowed
            """,
            row.id,
            row.user_id,
            row.graph_id,
            row.graph_version,
            row.preset_id,
            row.parent_id,
            row.root_id,
            row.status,
            row.request,
            row.created_at,
            row.deadline,
            row.parent_activation,
            row.depth,
            most_waiting,
            parent_fence,
        )
    )


async def renew(run_ids: Sequence[str], owner: str, lease: timedelta) -> dict[str, bool]:
    """Prolong leases. Returns the runs still held, each with whether its stop was asked for."""
    rows = await db().fetch(
        """
        UPDATE runs SET lease_until = now() + $3
        WHERE id = ANY($1::text[]) AND lease_owner = $2 AND status = 'RUNNING'
        RETURNING id, stop_requested_at IS NOT NULL AS stopping
        """,
        list(run_ids),
        owner,
        lease,
    )
    return {row["id"]: row["stopping"] for row in rows}


async def release(run_ids: Sequence[str], owner: str) -> None:
    """Give leases back, so that another worker needn't wait for their end."""
    await db().execute(
        """
        UPDATE runs SET lease_until = now(), lease_owner = NULL
        WHERE id = ANY($1::text[]) AND lease_owner = $2 AND status = 'RUNNING'
        """,
        list(run_ids),
        owner,
    )


async def fail(run_id: str, fence: int, stats: bytes, now: datetime) -> bool:
    """End a run that can't be driven at all, if it is still the one that was claimed under `fence`."""
    return bool(
        await db().fetchval(
            """
            UPDATE runs
            SET status = 'FAILED', ended_at = $4, stats = $3, lease_owner = NULL, lease_until = NULL
            WHERE id = $1 AND fence = $2 AND status = 'RUNNING'
            RETURNING true
            """,
            run_id,
            fence,
            stats,
            now,
        )
    )


async def read_journal(run_id: str, run_day: date, after: int = 0, limit: int | None = None) -> list[Segment]:
    """The rows of a run's journal, at most `limit`, that begin behind message `after`, whole and in order."""
    rows = await db().fetch(
        "SELECT seq, body, handles FROM journal WHERE run_id = $1 AND run_day = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        run_id,
        run_day,
        after,
        limit,
    )
    found = [(row["seq"], row["body"], _journal_handles(row["handles"])) for row in rows]
    blobs = await _read_blobs(run_id, [handle for _, _, handles in found for handle in handles])
    return [
        Segment(run_id=run_id, seq=seq, body=spilling.restored(body, handles, blobs)) for seq, body, handles in found
    ]


def _journal_handles(document: bytes | None) -> Sequence[Handle]:
    return () if document is None else spilling.decode_handles(document)


async def _read_blobs(run_id: str, handles: Sequence[Handle]) -> dict[str, bytes]:
    if not handles:
        return {}
    digests = {bytes.fromhex(handle.digest) for handle in handles}
    rows = await db().fetch("SELECT hash, body FROM blobs WHERE run_id = $1 AND hash = ANY($2)", run_id, list(digests))
    return {row["hash"].hex(): row["body"] for row in rows}


async def ensure_partition(day: date) -> None:
    """Make the journal's partition for runs created on `day`. Safe in many processes at once: one makes it."""
    name = f"journal_{day:%Y%m%d}"
    if await db().fetchval("SELECT to_regclass($1) IS NOT NULL", name):
        return
    async with db().transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('agentplat.journal.partition'))")
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF journal "
            f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )


async def find_stranded(limit: int) -> list[str]:
    """Runs that nobody looks after: leases that ran out, and what has to end though its turn has not come.

    A parked run waits for letters and has no lease at all; it is found when it has some, or is past its deadline.
    """
    rows = await db().fetch(
        """
        SELECT id, created_at FROM runs
        WHERE status = 'RUNNING' AND (lease_until < now() OR lease_until IS NULL AND (
            deadline < now() OR NOT EXISTS (SELECT FROM mailboxes m WHERE m.run_id = runs.id AND m.parked)))
        UNION ALL
        SELECT id, created_at FROM runs WHERE status IN ('QUEUED', 'REVIEW') AND deadline < now()
        UNION ALL
        SELECT id, created_at FROM runs WHERE status IN ('QUEUED', 'REVIEW') AND stop_requested_at IS NOT NULL
        ORDER BY created_at
        LIMIT $1
        """,
        limit,
    )
    return [row["id"] for row in rows]


async def get(user_id: str, run_id: str, graph_id: str | None = None) -> RunRow | None:
    return await _whole_row(
        await db().fetchrow(
            f"""
            SELECT {COLUMNS}, result_handles FROM runs
            WHERE id = $1 AND user_id = $2 AND ($3::text IS NULL OR graph_id = $3) AND NOT is_deleted
            """,
            run_id,
            user_id,
            graph_id,
        )
    )


async def find(run_id: str) -> RunRow | None:
    """A run whoever owns it: for code that acts on runs, not for answers to somebody."""
    return await _whole_row(await db().fetchrow(f"SELECT {COLUMNS}, result_handles FROM runs WHERE id = $1", run_id))


async def _whole_row(found: Any) -> RunRow | None:
    """A run with the values that were cut out of its outputs and node executions."""
    if found is None:
        return None
    members = dict(found)
    if (document := members.pop("result_handles")) is not None:
        handles = spilling.decode_result_handles(document)
        blobs = await _read_blobs(members["id"], [*handles.outputs, *handles.node_executions])
        members["outputs"] = spilling.restored(members["outputs"], handles.outputs, blobs)
        members["node_executions"] = spilling.restored(members["node_executions"], handles.node_executions, blobs)
    return RunRow(**members)


async def find_final(run_ids: Sequence[str]) -> list[str]:
    """Those of the runs that are over."""
    rows = await db().fetch(
        "SELECT id FROM runs WHERE id = ANY($1::text[]) AND status IN ('COMPLETED', 'FAILED', 'TERMINATED')",
        list(run_ids),
    )
    return [row["id"] for row in rows]


async def request_stop(user_id: str, run_id: str, now: datetime, graph_id: str | None = None) -> list[str]:
    """Put the wish to stop on record, for the run and all runs below it. Returns those that are not final yet."""
    rows = await db().fetch(
        """
        WITH RECURSIVE tree AS (
            SELECT id FROM runs
            WHERE id = $2 AND user_id = $1 AND ($4::text IS NULL OR graph_id = $4) AND NOT is_deleted
                AND status IN ('QUEUED', 'RUNNING', 'REVIEW')
            UNION ALL
            SELECT r.id FROM runs r JOIN tree ON r.parent_id = tree.id
        )
        UPDATE runs SET stop_requested_at = COALESCE(stop_requested_at, $3)
        WHERE id IN (SELECT id FROM tree) AND status IN ('QUEUED', 'RUNNING', 'REVIEW')
        RETURNING id
        """,
        user_id,
        run_id,
        now,
        graph_id,
    )
    return [row["id"] for row in rows]


async def is_stop_requested(run_id: str) -> bool:
    return bool(await db().fetchval("SELECT stop_requested_at IS NOT NULL FROM runs WHERE id = $1", run_id))


async def share(user_id: str, graph_id: str, run_id: str, token: str | None) -> bool:
    """Make a run public under `token`, which replaces any other; without one it isn't public any more."""
    return bool(
        await db().fetchval(
            """
            UPDATE runs SET is_shared = $4::text IS NOT NULL, share_token = $4,
                shared_at = CASE WHEN $4::text IS NOT NULL THEN now() END
            WHERE id = $1 AND user_id = $2 AND graph_id = $3 AND NOT is_deleted
            RETURNING true
            """,
            run_id,
            user_id,
            graph_id,
            token,
        )
    )


async def find_shared(token: str) -> RunRow | None:
    """For anybody: the token is the permission."""
    return await _whole_row(
        await db().fetchrow(
            f"SELECT {COLUMNS}, result_handles FROM runs WHERE share_token = $1 AND is_shared AND NOT is_deleted", token
        )
    )


async def activity(user_id: str, since: datetime, until: datetime) -> Activity:
    """Over the runs that the user, and not another run, has started after `since`, up to `until`."""
    row = await db().fetchrow(
        """
        SELECT count(*) AS runs, max(created_at) AS last_at,
            COALESCE(array_agg(DISTINCT date_bin('15 minutes', created_at, to_timestamp(0))), '{}') AS quarters,
            CASE WHEN count(*) > 0 THEN EXISTS (
                SELECT FROM runs WHERE user_id = $1 AND NOT is_deleted AND parent_id IS NULL
                GROUP BY graph_id HAVING count(*) > 1
            ) ELSE false END AS repeated
        FROM runs
        WHERE user_id = $1 AND NOT is_deleted AND parent_id IS NULL AND created_at > $2 AND created_at <= $3
        """,
        user_id,
        since,
        until,
    )
    return Activity(**row)
