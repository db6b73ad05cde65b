"""The statement that makes the rows of many runs durable at once, and what is true together with them.

It writes nothing of a run that its sender no longer holds under the fence that the row was made for.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agentplat.credits import service as credits
from agentplat.credits.models import Charge
from agentplat.engine.state import Status
from agentplat.infra.db import db
from agentplat.runs import mail, queries, spilling
from agentplat.runs.letters import Addressed

_encode = msgspec.json.Encoder().encode


# One claim of a run: the run's id and the fence.
Claim = tuple[str, int]


class Ending(Struct, frozen=True, kw_only=True):
    """What a run's row gets when the run becomes final. `handles` are those of `outputs` and `node_executions`.

    `fee` is for executions that no charge has counted. It is never refused: it takes what there is, and the rest stays
    counted.
    """

    status: Status
    ended_at: datetime
    stats: bytes
    outputs: bytes
    node_executions: bytes
    handles: bytes | None = None
    fee: Charge | None = None


class Write(Struct, frozen=True, kw_only=True):
    """One journal row to be, and the run's ending if it is the last one.

    `handles` name values that were cut out of the body; `blobs` has those values (and those of the ending), by digest,
    unless an earlier row has brought them.
    """

    run_id: str
    run_day: date
    seq: int
    fence: int
    body: bytes
    handles: bytes | None = None
    blobs: Mapping[str, bytes] = {}
    ending: Ending | None = None
    letters: list[Addressed] = []

    @property
    def claim(self) -> Claim:
        return self.run_id, self.fence

    @property
    def announced(self) -> bytes | None:
        """The body for the event bus, unless values were cut out of it."""
        return self.body if self.handles is None else None


def spilled(write: Write, known: set[str]) -> Write:
    """The row with its big values cut out.

    `known` are the digests of values that earlier rows of the run have brought under the same fence; it learns the new
    ones. If one of those rows is refused so is this one, so none can be missing.
    """
    if write.ending is None and len(write.body) <= spilling.LIMIT:
        return write
    ending, results = (None, {}) if write.ending is None else _spilled_ending(write.ending)
    body = spilling.cut(write.body, spilling.JOURNAL_FRAME)
    blobs = {**body.blobs, **results}
    new = {digest: blob for digest, blob in blobs.items() if digest not in known}
    known.update(new)
    handles = _encode(body.handles) if body.handles else None
    return replace(write, body=body.document, handles=handles, blobs=new, ending=ending)


def _spilled_ending(ending: Ending) -> tuple[Ending | None, dict[str, bytes]]:
    outputs = spilling.cut(ending.outputs, spilling.OUTPUTS_FRAME)
    nodes = spilling.cut(ending.node_executions, spilling.NODE_EXECUTIONS_FRAME)
    if not (outputs.handles or nodes.handles):
        return ending, {}
    handles = _encode(spilling.ResultHandles(outputs.handles, nodes.handles))
    slim = replace(ending, outputs=outputs.document, node_executions=nodes.document, handles=handles)
    return slim, {**outputs.blobs, **nodes.blobs}


# Whoever isn't `held` gets nothing written by any part. Rows that are to be updated are locked for that at once: two
# who have a share of one, like an end and the same sent again, would wait for each other.
_CTES = """
    WITH batch AS (
        SELECT * FROM unnest($2::text[], $3::int[], $4::date[], $5::int[], $6::bytea[], $7::bytea[])
            AS b (run_id, seq, run_day, fence, body, handles)
    ), held AS (
        SELECT r.id, r.fence FROM runs r
        WHERE r.lease_owner = $1 AND r.status = 'RUNNING'
            AND (r.id, r.fence) IN (SELECT run_id, fence FROM batch)
        ORDER BY r.id FOR {lock}  -- in order, so that who stops many of them and this don't wait for each other
    ), written AS (
        INSERT INTO journal (run_id, seq, run_day, fence, body, handles)
        SELECT b.run_id, b.seq, b.run_day, b.fence, b.body, b.handles
        FROM batch b JOIN held ON held.id = b.run_id AND held.fence = b.fence
        ON CONFLICT DO NOTHING
        RETURNING run_id, seq, fence
    ), ended AS (
        UPDATE runs r
        SET status = e.status, ended_at = e.ended_at, stats = e.stats, outputs = e.outputs,
            node_executions = e.node_executions, result_handles = e.handles, lease_owner = NULL, lease_until = NULL
        FROM unnest(
            $8::text[], $9::int[], $10::text[], $11::timestamptz[], $12::bytea[], $13::bytea[], $14::bytea[],
            $15::bytea[]) AS e (id, fence, status, ended_at, stats, outputs, node_executions, handles)
        JOIN held ON held.id = e.id AND held.fence = e.fence
        WHERE r.id = e.id
        RETURNING r.id, r.fence, r.user_id
    ), given_up AS (
        UPDATE reviews SET status = 'REJECTED', processed = true, review_message = 'Execution was stopped by user',
            updated_at = now(), reviewed_at = now()
        WHERE status = 'WAITING' AND run_id IN (SELECT id FROM ended)
    )
"""
_HELD = "SELECT id, fence, false AS asleep FROM held"

# Parts of the statement that few batches need; the braces are the numbers of their parameters.
_BLOBS = """
    spilled AS (
        INSERT INTO blobs (run_id, hash, body)
        SELECT b.run_id, b.hash, b.body
        FROM unnest({}::text[], {}::int[], {}::bytea[], {}::bytea[]) AS b (run_id, fence, hash, body)
        JOIN held ON held.id = b.run_id AND held.fence = b.fence
        ON CONFLICT DO NOTHING
    )
"""
_LETTERS = f"""
    letters AS (
        SELECT l.run_id, l.body, l.ord
        FROM unnest({{}}::text[], {{}}::int[], {{}}::int[], {{}}::text[], {{}}::bytea[])
            WITH ORDINALITY AS l (sender, seq, fence, run_id, body, ord)
        JOIN written w ON w.run_id = l.sender AND w.seq = l.seq AND w.fence = l.fence
    ), {mail.DELIVERY}
"""
# A run ends once, so counting its executions with its end counts them once, though they have no row in the ledger.
_FEES = f"""
    charges AS (
        SELECT ended.user_id, c.transaction_key, c.amount, c.executions, c.metadata, c.fee_metadata, c.run_id
        FROM unnest(
            {{}}::text[], {{}}::int[], {{}}::text[], {{}}::bigint[], {{}}::bigint[], {{}}::bytea[], {{}}::bytea[])
            AS c (run_id, fence, transaction_key, amount, executions, metadata, fee_metadata)
        JOIN ended ON ended.id = c.run_id AND ended.fence = c.fence
    ), {credits.SPEND_CTES}
"""
_ADDRESSEES = "SELECT run_id, NULL, true FROM delivered_to WHERE parked"


class Committed(NamedTuple):
    """The claims that hold, and the addressees of letters that no worker may be holding."""

    held: set[Claim]
    asleep: list[str]


async def commit(writes: Sequence[Write], owner: str) -> Committed:
    """Write journal rows, their blobs, endings and letters in one statement, hence one transaction. With a run's ending
    its execution fee is taken, and the reviews go that nobody will answer any more.

    Of a run that `owner` no longer holds under the given fence nothing is written. Rows that exist already were written
    by the same holder (a commit whose answer got lost), so meeting them again is no error; their letters are delivered
    already, and not again.
    """
    try:
        return await _commit(writes, owner)
    except asyncpg.CheckViolationError:
        # No worker has made a partition for that day yet.
        for day in {write.run_day for write in writes}:
            await queries.ensure_partition(day)
        return await _commit(writes, owner)


async def _commit(writes: Sequence[Write], owner: str) -> Committed:
    lock = "SHARE" if all(write.ending is None for write in writes) else "NO KEY UPDATE"
    parts, selects = [_CTES.format(lock=lock)], [_HELD]
    parameters = [owner, *_row_columns(writes), *_ending_columns(writes)]

    def add(part: str, *columns: list[Any]) -> None:
        first = len(parameters) + 1
        parts.append(part.format(*(f"${number}" for number in range(first, first + len(columns)))))
        parameters.extend(columns)

    if blobs := [(write, digest, blob) for write in writes for digest, blob in write.blobs.items()]:
        add(
            _BLOBS,
            [write.run_id for write, _, _ in blobs],
            [write.fence for write, _, _ in blobs],
            [bytes.fromhex(digest) for _, digest, _ in blobs],
            [blob for _, _, blob in blobs],
        )
    if letters := [(write, letter) for write in writes for letter in write.letters]:
        add(
            _LETTERS,
            [write.run_id for write, _ in letters],
            [write.seq for write, _ in letters],
            [write.fence for write, _ in letters],
            *mail.columns([letter for _, letter in letters]),
        )
        selects.append(_ADDRESSEES)
    if fees := [(write, write.ending.fee) for write in writes if write.ending is not None and write.ending.fee]:
        add(
            _FEES,
            [write.run_id for write, _ in fees],
            [write.fence for write, _ in fees],
            *credits.charge_columns([fee for _, fee in fees]),
        )
    rows = await db().fetch(", ".join(parts) + " UNION ALL ".join(selects), *parameters)
    held = {(row["id"], row["fence"]) for row in rows if not row["asleep"]}
    return Committed(held, [row["id"] for row in rows if row["asleep"]])


def _row_columns(writes: Sequence[Write]) -> list[list[Any]]:
    return [
        [write.run_id for write in writes],
        [write.seq for write in writes],
        [write.run_day for write in writes],
        [write.fence for write in writes],
        [write.body for write in writes],
        [write.handles for write in writes],
    ]


def _ending_columns(writes: Sequence[Write]) -> list[list[Any]]:
    endings = [(write, write.ending) for write in writes if write.ending is not None]
    return [
        [write.run_id for write, _ in endings],
        [write.fence for write, _ in endings],
        [ending.status for _, ending in endings],
        [ending.ended_at for _, ending in endings],
        [ending.stats for _, ending in endings],
        [ending.outputs for _, ending in endings],
        [ending.node_executions for _, ending in endings],
        [ending.handles for _, ending in endings],
    ]


async def find_ended(writes: Sequence[Write]) -> list[Claim]:
    """The claims under which the given rows have ended their runs."""
    endings = [write for write in writes if write.ending is not None]
    rows = await db().fetch(
        """
        SELECT j.run_id, j.fence
        FROM unnest($1::text[], $2::int[], $3::date[], $4::int[]) AS e (run_id, seq, run_day, fence)
        JOIN journal j ON (j.run_id, j.seq, j.run_day, j.fence) = (e.run_id, e.seq, e.run_day, e.fence)
        """,
        [write.run_id for write in endings],
        [write.seq for write in endings],
        [write.run_day for write in endings],
        [write.fence for write in endings],
    )
    return [(row["run_id"], row["fence"]) for row in rows]
