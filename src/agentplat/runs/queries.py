"""Everything that runs say to the database. Hot statements are one round trip each.

The lease is the lock: a run may be written only by the holder of its current `fence`, a number that every claim raises.
`commits` checks it under a lock in the statement that writes, and a claim (in `turns`) needs the row for itself: a
holder that lost its lease can't add one more row, however late it wakes.
"""

from collections.abc import Iterable, Mapping, Sequence
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

# What was asked for has inputs twice, as given and as shown. Of a run that was asked for with more than so many bytes,
# lists say nothing of that: there may be hundreds of megabytes in one.
MOST_LISTED_BYTES = 2 * 64 * 1024

# The same for lists.
LISTED_COLUMNS = COLUMNS.replace(
    " request,", f" CASE WHEN octet_length(request) <= {MOST_LISTED_BYTES} THEN request ELSE '{{}}' END AS request,"
)

# In the order of their ids, as who stops many runs locks them, so that no two wait for each other.
_HELD_IN_ORDER = """
    SELECT id FROM runs
    WHERE id = ANY($1::text[]) AND lease_owner = $2 AND status = 'RUNNING' ORDER BY id FOR NO KEY UPDATE
"""


async def renew(run_ids: Sequence[str], owner: str, lease: timedelta) -> dict[str, bool]:
    """Prolong leases. Returns the runs still held, each with whether its stop was asked for."""
    rows = await db().fetch(
        f"""
        WITH held AS MATERIALIZED ({_HELD_IN_ORDER})
        UPDATE runs r SET lease_until = now() + $3 FROM held WHERE r.id = held.id
        RETURNING r.id, r.stop_requested_at IS NOT NULL AS stopping
        """,
        list(run_ids),
        owner,
        lease,
    )
    return {row["id"]: row["stopping"] for row in rows}


async def release(run_ids: Sequence[str], owner: str) -> None:
    """Give leases back, so that another worker needn't wait for their end."""
    await db().execute(
        f"""
        WITH held AS MATERIALIZED ({_HELD_IN_ORDER})
        UPDATE runs r SET lease_until = now(), lease_owner = NULL FROM held WHERE r.id = held.id
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
    return await _segments([(run_id, row["seq"], row["body"], row["handles"]) for row in rows])


async def read_journals(run_days: Mapping[str, date]) -> dict[str, list[Segment]]:
    """All rows of the journals of runs, whole and in order, by run. `run_days` are the days the runs were created."""
    rows = await db().fetch(
        """
        SELECT run_id, seq, body, handles FROM journal
        WHERE run_id = ANY($1::text[]) AND run_day = ANY($2::date[]) ORDER BY run_id, seq
        """,
        list(run_days),
        list(set(run_days.values())),
    )
    found: dict[str, list[Segment]] = {run_id: [] for run_id in run_days}
    for segment in await _segments([(row["run_id"], row["seq"], row["body"], row["handles"]) for row in rows]):
        found[segment.run_id].append(segment)
    return found


async def _segments(rows: Sequence[tuple[str, int, bytes, bytes | None]]) -> list[Segment]:
    """Rows of journals with the values that were cut out of them."""
    found = [
        (run_id, seq, body, () if handles is None else spilling.decode_handles(handles))
        for run_id, seq, body, handles in rows
    ]
    blobs = await _read_blobs([(run_id, handle) for run_id, _, _, handles in found for handle in handles])
    return [
        Segment(run_id=run_id, seq=seq, body=spilling.restored(body, handles, blobs.get(run_id, {})))
        for run_id, seq, body, handles in found
    ]


async def _read_blobs(wanted: Iterable[tuple[str, Handle]]) -> dict[str, dict[str, bytes]]:
    """Values by run and digest."""
    keys = {(run_id, handle.digest) for run_id, handle in wanted}
    if not keys:
        return {}
    rows = await db().fetch(
        """
        SELECT b.run_id, b.hash, b.body FROM unnest($1::text[], $2::bytea[]) AS wanted (run_id, hash)
        JOIN blobs b ON b.run_id = wanted.run_id AND b.hash = wanted.hash
        """,
        [run_id for run_id, _ in keys],
        [bytes.fromhex(digest) for _, digest in keys],
    )
    blobs: dict[str, dict[str, bytes]] = {}
    for row in rows:
        blobs.setdefault(row["run_id"], {})[row["hash"].hex()] = row["body"]
    return blobs


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


async def get_many(user_id: str, run_ids: Sequence[str], *, outputs: bool = False) -> dict[str, RunRow]:
    """Those of the runs that are the user's, without node executions, and with outputs only on request."""
    columns = LISTED_COLUMNS.replace("node_executions", "NULL AS node_executions")
    columns = columns if outputs else columns.replace("outputs,", "NULL AS outputs,")
    rows = await db().fetch(
        f"SELECT {columns}, result_handles FROM runs WHERE id = ANY($1::text[]) AND user_id = $2 AND NOT is_deleted",
        list(run_ids),
        user_id,
    )
    return {row.id: row for row in await _whole_rows(rows)}


async def find(run_id: str) -> RunRow | None:
    """A run whoever owns it: for code that acts on runs, not for answers to somebody."""
    return await _whole_row(await db().fetchrow(f"SELECT {COLUMNS}, result_handles FROM runs WHERE id = $1", run_id))


async def _whole_row(found: Any) -> RunRow | None:
    """A run with the values that were cut out of its outputs and node executions."""
    if found is None:
        return None
    return (await _whole_rows([found]))[0]


async def _whole_rows(found: Iterable[Any]) -> list[RunRow]:
    """The same of many. What wasn't read is not put back either."""
    runs = [dict(row) for row in found]
    cut: list[tuple[dict[str, Any], str, Sequence[Handle]]] = []
    for run in runs:
        if (document := run.pop("result_handles")) is not None:
            handles = spilling.decode_result_handles(document)
            parts = (("outputs", handles.outputs), ("node_executions", handles.node_executions))
            cut += [(run, name, theirs) for name, theirs in parts if theirs and run[name] is not None]
    blobs = await _read_blobs((run["id"], handle) for run, _, theirs in cut for handle in theirs)
    for run, name, theirs in cut:
        run[name] = spilling.restored(run[name], theirs, blobs.get(run["id"], {}))
    return [RunRow(**run) for run in runs]


async def is_over(user_id: str, run_id: str) -> bool:
    """Whether this is a run of the user's that is over."""
    return bool(
        await db().fetchval(
            """
            SELECT EXISTS (
                SELECT FROM runs WHERE id = $2 AND user_id = $1 AND NOT is_deleted
                    AND status IN ('COMPLETED', 'FAILED', 'TERMINATED'))
            """,
            user_id,
            run_id,
        )
    )


async def find_final(run_ids: Sequence[str]) -> list[str]:
    """Those of the runs that are over."""
    rows = await db().fetch(
        "SELECT id FROM runs WHERE id = ANY($1::text[]) AND status IN ('COMPLETED', 'FAILED', 'TERMINATED')",
        list(run_ids),
    )
    return [row["id"] for row in rows]


async def find_going(user_id: str, graph_id: str) -> dict[str, tuple[str | None, int | None]]:
    """The user's runs of a graph that are not final, hidden ones too, each with the run and activation above it."""
    rows = await db().fetch(
        """
        SELECT id, parent_id, parent_activation FROM runs
        WHERE graph_id = $2 AND user_id = $1 AND status IN ('QUEUED', 'RUNNING', 'REVIEW')
        """,
        user_id,
        graph_id,
    )
    return {row["id"]: (row["parent_id"], row["parent_activation"]) for row in rows}


async def request_stop(
    user_id: str, run_ids: Sequence[str], now: datetime, graph_id: str | None = None, *, hidden: bool = False
) -> list[str]:
    """Put the wish to stop on record, for the runs and all runs below them. Returns those that are not final yet."""
    rows = await db().fetch(
        """
        WITH RECURSIVE tree AS (
            SELECT id FROM runs
            WHERE id = ANY($2::text[]) AND user_id = $1 AND ($4::text IS NULL OR graph_id = $4)
                AND ($5 OR NOT is_deleted) AND status IN ('QUEUED', 'RUNNING', 'REVIEW')
            UNION
            SELECT r.id FROM runs r JOIN tree ON r.parent_id = tree.id
        ), locked AS MATERIALIZED (
            -- In the order of their ids, so that two who do this at once don't wait for each other.
            SELECT id FROM runs WHERE id IN (SELECT id FROM tree) ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE runs SET stop_requested_at = COALESCE(stop_requested_at, $3)
        WHERE id IN (SELECT id FROM locked) AND status IN ('QUEUED', 'RUNNING', 'REVIEW')
        RETURNING id
        """,
        user_id,
        list(run_ids),
        now,
        graph_id,
        hidden,
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
        WITH done AS NOT MATERIALIZED (
            SELECT id, graph_id, created_at FROM runs
            WHERE user_id = $1 AND NOT is_deleted AND parent_id IS NULL AND created_at > $2 AND created_at <= $3
        )
        SELECT count(*) AS runs, max(created_at) AS last_at,
            COALESCE(array_agg(DISTINCT date_bin('15 minutes', created_at, to_timestamp(0))), '{}') AS quarters,
            EXISTS (
                SELECT FROM done d JOIN runs r ON r.user_id = $1 AND r.graph_id = d.graph_id AND r.id <> d.id
                WHERE NOT r.is_deleted AND r.parent_id IS NULL
            ) AS repeated
        FROM done
        """,
        user_id,
        since,
        until,
    )
    return Activity(**row)
