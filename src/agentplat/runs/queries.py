"""Everything that runs say to the database. Hot statements are one round trip each.

The lease is the lock: a run may be written only by the holder of its current `fence`, a number that every claim raises.
`commit` checks it under FOR SHARE in the statement that writes, and a claim (in `turns`) needs the row for itself, so a
holder that lost its lease can't add one more row, however late it wakes.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from msgspec import Struct

from agentplat.engine.state import Status
from agentplat.infra.db import db
from agentplat.runs import mail
from agentplat.runs.letters import Addressed
from agentplat.runs.models import RunRow, Segment

# What a statement raises while the database is away or restarting. Trying again later is all there is to do.
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)

# What a RunRow is made of.
COLUMNS = (
    "id, user_id, graph_id, graph_version, preset_id, parent_id, status, request, created_at, started_at, ended_at, "
    "deadline, stop_requested_at, fence, root_id, parent_activation, depth, place, is_shared, share_token, stats, "
    "outputs, node_executions"
)
# Lists don't show outputs and nodes, and fetching them would read them from the row's overflow storage.
_LIST_COLUMNS = COLUMNS.replace("outputs, node_executions", "NULL AS outputs, NULL AS node_executions")


class Ending(Struct, frozen=True, kw_only=True):
    """What a run's row gets when the run becomes final."""

    status: Status
    ended_at: datetime
    stats: bytes
    outputs: bytes
    node_executions: bytes


class Write(Struct, frozen=True, kw_only=True):
    """One journal row to be, and the run's ending if it is the last one."""

    run_id: str
    run_day: date
    seq: int
    fence: int
    body: bytes
    ending: Ending | None = None
    letters: list[Addressed] = []


async def insert(row: RunRow, most_waiting: int | None = None) -> bool:
    """Store a run that was accepted. One that is there already stays: a sub-run's id follows from its parent.

    False where that many runs of the user wait already. Requests that come at once may exceed the limit a little.
    """
    return bool(
        await db().fetchval(
            """
            WITH room AS (
                SELECT WHERE $14::int IS NULL OR NOT EXISTS (
                    SELECT FROM runs WHERE user_id = $2 AND status = 'QUEUED' OFFSET $14 - 1 LIMIT 1)
            ), stored AS (
                INSERT INTO runs (id, user_id, graph_id, graph_version, preset_id, parent_id, root_id, status, request,
                                  created_at, deadline, parent_activation, depth)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM room
                ON CONFLICT (id) DO NOTHING
            )
            SELECT true FROM room
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


_COMMIT_CTES = """
    WITH batch AS (
        SELECT * FROM unnest($2::text[], $3::int[], $4::date[], $5::int[], $6::bytea[])
            AS b (run_id, seq, run_day, fence, body)
    ), held AS (
        SELECT r.id, r.fence FROM runs r
        WHERE r.lease_owner = $1 AND r.status = 'RUNNING'
            AND (r.id, r.fence) IN (SELECT run_id, fence FROM batch)
        FOR SHARE
    ), written AS (
        INSERT INTO journal (run_id, seq, run_day, fence, body)
        SELECT b.run_id, b.seq, b.run_day, b.fence, b.body
        FROM batch b JOIN held ON held.id = b.run_id AND held.fence = b.fence
        ON CONFLICT DO NOTHING
        RETURNING run_id, seq, fence
    ), ended AS (
        UPDATE runs r
        SET status = e.status, ended_at = e.ended_at, stats = e.stats, outputs = e.outputs,
            node_executions = e.node_executions, lease_owner = NULL, lease_until = NULL
        FROM unnest($7::text[], $8::int[], $9::text[], $10::timestamptz[], $11::bytea[], $12::bytea[], $13::bytea[])
            AS e (id, fence, status, ended_at, stats, outputs, node_executions)
        JOIN held ON held.id = e.id AND held.fence = e.fence
        WHERE r.id = e.id
        RETURNING r.id
    ), given_up AS (
        UPDATE reviews SET status = 'REJECTED', processed = true, review_message = 'Execution was stopped by user',
            updated_at = now(), reviewed_at = now()
        WHERE status = 'WAITING' AND run_id IN (SELECT id FROM ended)
    )
"""
_COMMIT = f"{_COMMIT_CTES} SELECT id, false AS asleep FROM held"
_COMMIT_AND_DELIVER = f"""
    {_COMMIT_CTES}, letters AS (
        SELECT l.run_id, l.body, l.ord
        FROM unnest($14::text[], $15::int[], $16::int[], $17::text[], $18::bytea[])
            WITH ORDINALITY AS l (sender, seq, fence, run_id, body, ord)
        JOIN written w ON w.run_id = l.sender AND w.seq = l.seq AND w.fence = l.fence
    ), {mail.DELIVERY}
    SELECT id, false AS asleep FROM held
    UNION ALL SELECT run_id, true FROM delivered_to WHERE parked
"""


class Committed(NamedTuple):
    """The runs still held, and the addressees of letters that no worker may be holding."""

    held: set[str]
    asleep: list[str]


async def commit(writes: Sequence[Write], owner: str) -> Committed:
    """Write journal rows, endings and letters in one statement, hence one transaction. With a run's ending go the
    reviews that nobody will answer any more.

    Of a run that `owner` no longer holds under the given fence nothing is written. Rows that exist already were written
    by the same holder (a commit whose answer got lost), so meeting them again is no error; their letters are delivered
    already, and not again.
    """
    endings = [(write, write.ending) for write in writes if write.ending is not None]
    letters = [(write, letter) for write in writes for letter in write.letters]
    parameters: list[Any] = [
        owner,
        [write.run_id for write in writes],
        [write.seq for write in writes],
        [write.run_day for write in writes],
        [write.fence for write in writes],
        [write.body for write in writes],
        [write.run_id for write, _ in endings],
        [write.fence for write, _ in endings],
        [ending.status for _, ending in endings],
        [ending.ended_at for _, ending in endings],
        [ending.stats for _, ending in endings],
        [ending.outputs for _, ending in endings],
        [ending.node_executions for _, ending in endings],
    ]
    if letters:
        rows = await db().fetch(
            _COMMIT_AND_DELIVER,
            *parameters,
            [write.run_id for write, _ in letters],
            [write.seq for write, _ in letters],
            [write.fence for write, _ in letters],
            *mail.columns([letter for _, letter in letters]),
        )
    else:
        rows = await db().fetch(_COMMIT, *parameters)
    return Committed({row["id"] for row in rows if not row["asleep"]}, [row["id"] for row in rows if row["asleep"]])


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


async def read_journal(run_id: str, run_day: date, after: int = 0) -> list[Segment]:
    """The journal of a run behind message `after`, in order. A segment may begin before it."""
    rows = await db().fetch(
        "SELECT seq, body FROM journal WHERE run_id = $1 AND run_day = $2 AND seq > $3 ORDER BY seq",
        run_id,
        run_day,
        after,
    )
    return [Segment(run_id=run_id, seq=row["seq"], body=row["body"]) for row in rows]


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
    return _row(
        await db().fetchrow(
            f"""
            SELECT {COLUMNS} FROM runs
            WHERE id = $1 AND user_id = $2 AND ($3::text IS NULL OR graph_id = $3) AND NOT is_deleted
            """,
            run_id,
            user_id,
            graph_id,
        )
    )


async def find(run_id: str) -> RunRow | None:
    """A run whoever owns it: for code that acts on runs, not for answers to somebody."""
    return _row(await db().fetchrow(f"SELECT {COLUMNS} FROM runs WHERE id = $1", run_id))


async def find_ended(writes: Sequence[Write]) -> list[str]:
    """Those of the runs that the given rows have ended."""
    endings = [write for write in writes if write.ending is not None]
    rows = await db().fetch(
        """
        SELECT j.run_id FROM unnest($1::text[], $2::int[], $3::date[], $4::int[]) AS e (run_id, seq, run_day, fence)
        JOIN journal j ON (j.run_id, j.seq, j.run_day, j.fence) = (e.run_id, e.seq, e.run_day, e.fence)
        """,
        [write.run_id for write in endings],
        [write.seq for write in endings],
        [write.run_day for write in endings],
        [write.fence for write in endings],
    )
    return [row["run_id"] for row in rows]


async def find_final(run_ids: Sequence[str]) -> list[str]:
    """Those of the runs that are over."""
    rows = await db().fetch(
        "SELECT id FROM runs WHERE id = ANY($1::text[]) AND status IN ('COMPLETED', 'FAILED', 'TERMINATED')",
        list(run_ids),
    )
    return [row["id"] for row in rows]


async def list_of_user(user_id: str, limit: int) -> list[RunRow]:
    rows = await db().fetch(
        f"""
        SELECT {_LIST_COLUMNS} FROM runs WHERE user_id = $1 AND NOT is_deleted
        ORDER BY created_at DESC, id DESC LIMIT $2
        """,
        user_id,
        limit,
    )
    return [RunRow(**row) for row in rows]


async def page_of_graph(user_id: str, graph_id: str, offset: int, limit: int) -> tuple[list[RunRow], int]:
    """One page of a graph's runs, newest first, and how many there are in all."""
    rows = await db().fetch(
        f"""
        SELECT {_LIST_COLUMNS} FROM runs WHERE user_id = $1 AND graph_id = $2 AND NOT is_deleted
        ORDER BY created_at DESC, id DESC OFFSET $3 LIMIT $4
        """,
        user_id,
        graph_id,
        offset,
        limit,
    )
    total = await db().fetchval(
        "SELECT count(*) FROM runs WHERE user_id = $1 AND graph_id = $2 AND NOT is_deleted", user_id, graph_id
    )
    return [RunRow(**row) for row in rows], total


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


async def mark_deleted(user_id: str, run_id: str) -> bool:
    return bool(
        await db().fetchval(
            "UPDATE runs SET is_deleted = true WHERE id = $1 AND user_id = $2 AND NOT is_deleted RETURNING true",
            run_id,
            user_id,
        )
    )


def _row(found: Any) -> RunRow | None:
    return None if found is None else RunRow(**found)
