"""Starts that cost something: the start of a node is recorded and paid for in one statement, or neither.

A row that is refused leaves no hole in the journal only if nothing of its run comes after it before the answer is
known. So a run that wants a charged start waits: first for its earlier rows, then for this one.

The journal row is what makes repeating safe: where it exists, nothing is charged; and unlike elsewhere, meeting it
unexpectedly undoes the statement. One refusal can't be trusted: that of a start which was sent before, without an
answer, because the first sending may still be under way in the database and be paid yet. The run must then be let go
of. Claiming it again waits for that statement, and the journal tells what became of it.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from agentplat.credits import service as credits
from agentplat.credits.models import Charge, Shortage
from agentplat.infra.db import db
from agentplat.runs.commits import Claim, Write


class ChargedStart(Struct, frozen=True, kw_only=True):
    """A journal row that may be written only if all of `charges` are paid, by the owner of the run."""

    write: Write
    charges: list[Charge]


class Outcome(Struct, frozen=True, kw_only=True):
    """Row and charges are both written if the run was still `held` and there was no shortage; otherwise nothing is."""

    held: bool
    shortage: Shortage | None = None

    @property
    def paid(self) -> bool:
        return self.held and self.shortage is None


_RECORD = f"""
    WITH batch AS (
        SELECT * FROM unnest($2::text[], $3::int[], $4::date[], $5::int[], $6::bytea[])
            AS b (run_id, seq, run_day, fence, body)
    ), held AS (
        SELECT r.id, r.fence, r.user_id FROM runs r
        WHERE r.lease_owner = $1 AND r.status = 'RUNNING' AND (r.id, r.fence) IN (SELECT run_id, fence FROM batch)
        ORDER BY r.id FOR SHARE
    ), fresh AS (
        SELECT b.*, held.user_id FROM batch b JOIN held ON held.id = b.run_id AND held.fence = b.fence
        WHERE NOT EXISTS (SELECT FROM journal j WHERE (j.run_id, j.seq, j.run_day) = (b.run_id, b.seq, b.run_day))
    ), charges AS (
        SELECT fresh.user_id, c.*
        FROM unnest($7::text[], $8::int[], $9::text[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[])
            AS c (run_id, fence, transaction_key, amount, executions, metadata, fee_metadata)
        JOIN fresh ON fresh.run_id = c.run_id AND fresh.fence = c.fence
    ), {credits.SPEND_CTES}, written AS (
        INSERT INTO journal (run_id, seq, run_day, fence, body)
        SELECT run_id, seq, run_day, fence, body FROM fresh WHERE user_id NOT IN (SELECT user_id FROM short)
    )
    SELECT held.id, held.fence, short.balance, short.cost, count(*) OVER (PARTITION BY held.user_id) > 1 AS in_company
    FROM held LEFT JOIN short ON short.user_id = held.user_id
"""


async def record_charged_starts(starts: Sequence[ChargedStart], owner: str) -> dict[Claim, Outcome]:
    """Record and pay starts, one of each claim, as one statement. Returns what became of each.

    Users who can't pay for all of theirs pay for one after the other, as far as their balance goes.
    """
    keyed = [(start.write.claim, charge) for start in starts for charge in start.charges]

    async def statement() -> list[Any]:
        return await db().fetch(
            _RECORD,
            owner,
            [start.write.run_id for start in starts],
            [start.write.seq for start in starts],
            [start.write.run_day for start in starts],
            [start.write.fence for start in starts],
            [start.write.body for start in starts],
            [run_id for (run_id, _), _ in keyed],
            [fence for (_, fence), _ in keyed],
            *credits.charge_columns([charge for _, charge in keyed]),
        )

    found = {(row["id"], row["fence"]): row for row in await credits.once(statement)}
    outcomes: dict[Claim, Outcome] = {}
    for start in starts:
        row = found.get(start.write.claim)
        if row is None:
            outcomes[start.write.claim] = Outcome(held=False)
        elif row["cost"] is None:
            outcomes[start.write.claim] = Outcome(held=True)
        elif row["in_company"]:
            outcomes |= await record_charged_starts([start], owner)
        elif await _is_recorded(start.write):
            outcomes[start.write.claim] = Outcome(held=True)
        else:
            shortage = Shortage(balance=row["balance"], cost=row["cost"])
            outcomes[start.write.claim] = Outcome(held=True, shortage=shortage)
    return outcomes


async def _is_recorded(write: Write) -> bool:
    """Whether a start that was refused had been recorded by an earlier sending, while this one waited for its lock."""
    return bool(
        await db().fetchval(
            "SELECT EXISTS (SELECT FROM journal WHERE run_id = $1 AND seq = $2 AND run_day = $3)",
            write.run_id,
            write.seq,
            write.run_day,
        )
    )
