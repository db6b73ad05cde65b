"""The statement that makes the rows of many runs durable at once, and what is true together with them.

It writes nothing of a run that its sender no longer holds under the fence that the row was made for.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from msgspec import Struct

from agentplat.engine.state import Status
from agentplat.infra.db import db
from agentplat.runs import mail
from agentplat.runs.letters import Addressed


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
