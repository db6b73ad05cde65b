"""Jobs for isolated nodes, as the database has them. The queue only says that there is one.

Why no such node is lost. Its job is put after its start is committed, by a task of the run's holder; whoever replays
the run meets a started node without an end, and puts the job again, which changes nothing where it is there already,
done or not. A job that nobody took, or whose process fell silent, is found by every process that executes nodes; one
that may not be repeated is declared interrupted by every worker that drives runs.

Why none is recorded twice. A claim is one UPDATE and has a number; outputs and the end are delivered to the run's
mailbox by a statement that writes only for the current claim of a job that is not done, and counts the outputs. So a
second claim skips what the first has delivered, and who lost its claim delivers nothing. The run drops what tells of
an activation or an attempt that is over, and takes each letter once (see `mail`).

Everybody locks the mailbox before a job.
"""

from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import msgspec
from msgspec import Struct

from agentplat.infra.db import db
from agentplat.runs import mail
from agentplat.runs.letters import Addressed, NodeReported

# Of a job that may be repeated: one whose workers die again and again is not given to yet another. A block takes down
# its own process and not its worker, so this many deaths have other reasons, such as machines that are being restarted.
MAX_CLAIMS = 20
# A job is looked for this long after it was put: until then its ticket is on its way.
TICKET_SECONDS = 1.0

_encode = msgspec.json.Encoder().encode

_ABANDONED = f"(NOT j.done AND j.lease_until < now() AND (NOT j.repeatable OR j.claims >= {MAX_CLAIMS}))"
_REPEATABLE = f"(NOT j.done AND j.lease_until < now() AND j.repeatable AND j.claims < {MAX_CLAIMS})"
# Nothing is executed any more for a run that is over or about to be.
_WANTED = "r.status = 'RUNNING' AND r.stop_requested_at IS NULL AND r.deadline > now()"


class NodeJob(Struct, frozen=True, kw_only=True):
    """A claimed job. `emitted`: so many outputs of the activation were delivered before."""

    run_id: str
    activation: int
    attempt: int
    claims: int
    emitted: int
    user_id: str
    body: bytes


async def put(run_id: str, fence: int, activation: int, attempt: int, repeatable: bool, body: bytes) -> bool:
    """Have an attempt at an activation executed. False where that is arranged already, or the run is somebody else's.

    A later attempt takes the place of the earlier one, and goes on counting its outputs. The run has a mailbox.
    """
    try:
        return bool(
            await db().fetchval(
                """
                INSERT INTO node_jobs AS j (run_id, activation, attempt, repeatable, body)
                SELECT r.id, $3, $4, $5, $6 FROM runs r WHERE r.id = $1 AND r.fence = $2 AND r.status = 'RUNNING'
                ON CONFLICT (run_id, activation) DO UPDATE
                SET attempt = EXCLUDED.attempt, body = EXCLUDED.body, claims = 0, lease_until = NULL,
                    offered_at = now(), done = false
                WHERE j.attempt < EXCLUDED.attempt
                RETURNING true
                """,
                run_id,
                fence,
                activation,
                attempt,
                repeatable,
                body,
            )
        )
    except asyncpg.ForeignKeyViolationError:
        return False  # the run has just ended, and its mailbox with it


async def find_waiting(limit: int) -> list[tuple[str, int]]:
    """Jobs that nobody executes: their tickets were lost, or a process died that had them and they may be repeated."""
    rows = await db().fetch(
        f"""
        SELECT j.run_id, j.activation FROM node_jobs j JOIN runs r ON r.id = j.run_id
        WHERE NOT j.done AND {_WANTED}
            AND ({_REPEATABLE} OR (j.lease_until IS NULL AND j.offered_at < now() - $2::interval))
        ORDER BY j.offered_at LIMIT $1
        """,
        limit,
        timedelta(seconds=TICKET_SECONDS),
    )
    return [(row["run_id"], row["activation"]) for row in rows]


async def claim(run_id: str, activation: int, lease: timedelta) -> NodeJob | None:
    """Take a job that nobody executes. None if it isn't to be had."""
    row = await db().fetchrow(
        f"""
        UPDATE node_jobs j SET claims = j.claims + 1, lease_until = now() + $3
        FROM runs r
        WHERE j.run_id = $1 AND j.activation = $2 AND r.id = j.run_id AND {_WANTED}
            AND NOT j.done AND (j.lease_until IS NULL OR {_REPEATABLE})
        RETURNING j.run_id, j.activation, j.attempt, j.claims, j.emitted, j.body, r.user_id
        """,
        run_id,
        activation,
        lease,
    )
    return None if row is None else NodeJob(**row)


async def renew(jobs: Sequence[NodeJob], lease: timedelta) -> set[tuple[str, int]]:
    """Prolong claims. Returns those that still stand, of runs that still want them."""
    rows = await db().fetch(
        f"""
        UPDATE node_jobs j SET lease_until = now() + $5
        FROM unnest($1::text[], $2::int[], $3::int[], $4::int[]) AS mine (run_id, activation, attempt, claims)
            JOIN runs r ON r.id = mine.run_id
        WHERE (j.run_id, j.activation, j.attempt, j.claims)
            = (mine.run_id, mine.activation, mine.attempt, mine.claims) AND NOT j.done AND {_WANTED}
        RETURNING j.run_id, j.activation
        """,
        [job.run_id for job in jobs],
        [job.activation for job in jobs],
        [job.attempt for job in jobs],
        [job.claims for job in jobs],
        lease,
    )
    return {(row["run_id"], row["activation"]) for row in rows}


async def release(job: NodeJob) -> None:
    """Say that nobody executes the job any more, so that others needn't wait for the end of the claim."""
    await db().execute(
        """
        UPDATE node_jobs SET lease_until = now()
        WHERE run_id = $1 AND activation = $2 AND attempt = $3 AND claims = $4 AND NOT done
        """,
        job.run_id,
        job.activation,
        job.attempt,
        job.claims,
    )


_REPORT = f"""
    WITH box AS (
        SELECT run_id FROM mailboxes WHERE run_id = $1 FOR UPDATE
    ), reported AS (
        UPDATE node_jobs j SET emitted = $6, done = $7, body = CASE WHEN $7 THEN NULL ELSE j.body END
        FROM box
        WHERE j.run_id = box.run_id AND j.activation = $2 AND j.attempt = $3 AND j.claims = $4 AND NOT j.done
            AND j.emitted = $5
        RETURNING j.run_id
    ), letters AS (
        SELECT run_id, $8::bytea AS body, 1 AS ord FROM reported
    ), {mail.DELIVERY}
    SELECT run_id, parked FROM delivered_to
"""


async def report(job: NodeJob, before: int, letter: NodeReported) -> list[str] | None:
    """Deliver what came of a job, of whose outputs `before` were delivered already. None where the claim is void; else
    the run, if no worker may be holding it.

    Asked again because the answer got lost, it delivers nothing twice, and says the same.
    """
    after = before + len(letter.outputs)
    rows = await db().fetch(
        _REPORT, job.run_id, job.activation, job.attempt, job.claims, before, after, letter.over, _encode(letter)
    )
    if rows:
        return [row["run_id"] for row in rows if row["parked"]]
    written = await db().fetchval(
        """
        SELECT true FROM node_jobs
        WHERE run_id = $1 AND activation = $2 AND attempt = $3 AND claims = $4 AND emitted = $5 AND done = $6
        """,
        job.run_id,
        job.activation,
        job.attempt,
        job.claims,
        after,
        letter.over,
    )
    return [job.run_id] if written and (letter.outputs or letter.over) else None


async def interrupt_abandoned() -> tuple[list[Addressed], list[str]]:
    """Declare interrupted what nobody executes any more and may not be repeated. Returns the letters that tell of it,
    and the runs among their addressees that no worker may be holding."""
    rows = await db().fetch(
        f"""
        WITH box AS (
            SELECT run_id FROM mailboxes
            WHERE run_id IN (SELECT j.run_id FROM node_jobs j WHERE {_ABANDONED}) ORDER BY run_id FOR UPDATE
        ), settled AS (
            UPDATE node_jobs j SET done = true, body = NULL FROM box
            WHERE j.run_id = box.run_id AND {_ABANDONED}
            RETURNING j.run_id, j.activation, j.attempt
        ), letters AS (
            SELECT run_id, convert_to(json_build_object('type', 'node', 'activation', activation, 'attempt', attempt,
                'over', true, 'interrupted', true)::text, 'UTF8') AS body, activation AS ord FROM settled
        ), {mail.DELIVERY}
        SELECT s.run_id, s.activation, s.attempt, d.parked FROM settled s JOIN delivered_to d ON d.run_id = s.run_id
        """
    )
    letters = [
        Addressed(row["run_id"], NodeReported(row["activation"], row["attempt"], over=True, interrupted=True))
        for row in rows
    ]
    return letters, [row["run_id"] for row in rows if row["parked"]]
