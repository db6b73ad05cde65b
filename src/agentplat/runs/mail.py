"""Letters to a run from outside of its worker: outputs and ends of its sub-runs, answers of reviewers.

A letter is written by the transaction that made it true (a sub-run's own commit, a reviewer's answer) and numbered by
the mailbox row's counter, so none can be lost, whoever runs at that moment. The run records `MailTaken` in the same
journal row as what it made of the letters, so none is taken twice.

Everybody locks the mailbox before the run's row.
"""

from collections.abc import Sequence
from datetime import date

import msgspec

from agentplat.infra.db import db
from agentplat.runs.letters import Addressed, Letter

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Letter).decode

# Delivers what is in the CTE `letters (run_id, ord, body)`; `delivered_to` has the addressees, and whether they slept.
# Mailboxes are locked in the order of their ids, so that two deliveries can't wait for each other.
DELIVERY = """
    delivered_to AS (
        SELECT run_id, letters AS before, parked FROM mailboxes
        WHERE run_id IN (SELECT run_id FROM letters) ORDER BY run_id FOR UPDATE
    ), numbered AS (
        SELECT l.run_id, l.body, d.before + row_number() OVER (PARTITION BY l.run_id ORDER BY l.ord) AS number
        FROM letters l JOIN delivered_to d ON d.run_id = l.run_id
    ), counted AS (
        UPDATE mailboxes m SET letters = n.last, parked = false
        FROM (SELECT run_id, max(number) AS last FROM numbered GROUP BY run_id) n WHERE m.run_id = n.run_id
    ), stored AS (
        INSERT INTO mail (run_id, number, body) SELECT run_id, number, body FROM numbered
    )
"""

# Of runs that are over, with their mailboxes.
_GIVE_UP_REVIEWS = """
    UPDATE reviews SET status = 'REJECTED', processed = true, review_message = 'Execution was stopped by user',
        updated_at = now(), reviewed_at = now()
    WHERE status = 'WAITING' AND run_id IN (SELECT run_id FROM closed)
"""


def columns(letters: Sequence[Addressed]) -> tuple[list[str], list[bytes]]:
    """Addressees and bodies, as parameters of a statement."""
    return [one.run_id for one in letters], [_encode(one.letter) for one in letters]


async def open_mailbox(run_id: str) -> None:
    await db().execute("INSERT INTO mailboxes (run_id) VALUES ($1) ON CONFLICT DO NOTHING", run_id)


async def deliver(letters: Sequence[Addressed]) -> list[str]:
    """Deliver outside of a journal commit. Returns the addressees that no worker may be holding."""
    rows = await db().fetch(
        f"""
        WITH letters AS (
            SELECT * FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS l (run_id, body, ord)
        ), {DELIVERY}
        SELECT run_id FROM delivered_to WHERE parked
        """,
        *columns(letters),
    )
    return [row["run_id"] for row in rows]


async def read(run_id: str, after: int) -> list[tuple[int, Letter]]:
    """The letters behind number `after`, in order."""
    rows = await db().fetch(
        "SELECT number, body FROM mail WHERE run_id = $1 AND number > $2 ORDER BY number", run_id, after
    )
    return [(row["number"], _decode(row["body"])) for row in rows]


async def park(run_id: str, fence: int, taken: int) -> bool:
    """Let go of a run that waits for letters, if none has come behind number `taken`."""
    return bool(
        await db().fetchval(
            """
            WITH box AS (
                UPDATE mailboxes SET parked = true WHERE run_id = $1 AND letters = $3 RETURNING run_id
            )
            UPDATE runs r SET lease_owner = NULL, lease_until = NULL FROM box
            WHERE r.id = box.run_id AND r.fence = $2 AND r.status = 'RUNNING' AND r.lease_owner IS NOT NULL
            RETURNING true
            """,
            run_id,
            fence,
            taken,
        )
    )


async def suspend(run_id: str, fence: int, taken: int, seq: int, run_day: date, body: bytes) -> bool:
    """Let go of a run that waits for a person and record it, if no letter has come behind number `taken`."""
    return bool(
        await db().fetchval(
            """
            WITH box AS (
                UPDATE mailboxes SET parked = true WHERE run_id = $1 AND letters = $3 RETURNING run_id
            ), suspended AS (
                UPDATE runs r SET status = 'REVIEW', lease_owner = NULL, lease_until = NULL FROM box
                WHERE r.id = box.run_id AND r.fence = $2 AND r.status = 'RUNNING' AND r.lease_owner IS NOT NULL
                RETURNING r.id
            )
            INSERT INTO journal (run_id, seq, run_day, fence, body)
            SELECT id, $4, $5, $2, $6 FROM suspended RETURNING true
            """,
            run_id,
            fence,
            taken,
            seq,
            run_day,
            body,
        )
    )


async def close_mailboxes(run_ids: Sequence[str]) -> None:
    """Throw away the mail of runs that are final, and give up what they asked while their ends were being written."""
    await db().execute(
        f"""
        WITH locked AS MATERIALIZED (
            SELECT run_id FROM mailboxes WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR UPDATE
        ), closed AS (
            DELETE FROM mailboxes WHERE run_id IN (SELECT run_id FROM locked) RETURNING run_id
        )
        {_GIVE_UP_REVIEWS}
        """,
        list(run_ids),
    )


async def close_left_open(after: str, most: int) -> str:
    """Throw away the mail of final runs whose worker died before it could. Looks at so many mailboxes behind that of
    run `after`; returns where to go on: "" when all were looked at."""
    return str(
        await db().fetchval(
            f"""
            WITH looked_at AS (
                SELECT run_id FROM mailboxes WHERE run_id > $1 ORDER BY run_id LIMIT $2
            ), closed AS (
                DELETE FROM mailboxes m USING looked_at l JOIN runs r ON r.id = l.run_id
                WHERE m.run_id = l.run_id AND r.status IN ('COMPLETED', 'FAILED', 'TERMINATED')
                RETURNING m.run_id
            ), given_up AS (
                {_GIVE_UP_REVIEWS}
            )
            SELECT CASE WHEN count(*) = $2 THEN max(run_id) ELSE '' END FROM looked_at
            """,
            after,
            most,
        )
    )
