"""Retention: journals of runs that are long over are dropped, a day at a time; the runs stay, with outputs and nodes.

A day goes only as a whole, and only when every run that was accepted on it is final: then nobody reads its journal, as
a final run's row has everything that answers need. No run comes back from that, so checking first is safe. Of the
blobs of such runs those are deleted that only the journal names.
"""

import asyncio
import re
from datetime import UTC, date, datetime, time, timedelta

import asyncpg
from msgspec import Struct

from agentplat.infra.clock import now
from agentplat.infra.db import db
from agentplat.runs import idempotency

# Dropping a partition needs the journal for itself for a moment, and whoever writes to it queues up behind the one who
# waits for that moment. So it is waited for in short turns, with room for the writers in between.
LOCK_TIMEOUT_MS = 100
TURNS = 20
PAUSE_SECONDS = 0.25
IN_USE = "in use: try again later"

_UNTIL = re.compile(r"TO \('(\d{4}-\d\d-\d\d)'\)")


class Dropped(Struct, frozen=True, kw_only=True):
    """What became of a day's partition; `kept` says why it is still there, or is None."""

    day: date
    bytes: int
    kept: str | None


class Retired(Struct, frozen=True, kw_only=True):
    days: list[Dropped]
    keys: int


class _Partition(Struct, frozen=True, kw_only=True):
    name: str
    until: date
    bytes: int


async def retire(days: int, dry_run: bool) -> Retired:
    """Drop the journals of runs that were accepted more than `days` days ago, and the keys that have expired."""
    before = now().astimezone(UTC).date() - timedelta(days=days)
    partitions = [partition for partition in await _partitions() if partition.until <= before]
    keys = await (idempotency.count_expired() if dry_run else idempotency.remove_expired())
    return Retired(days=[await _retire(partition, dry_run) for partition in partitions], keys=keys)


async def _retire(partition: _Partition, dry_run: bool) -> Dropped:
    day = partition.until - timedelta(days=1)
    kept = None
    if unfinished := await _unfinished(day):
        kept = f"{unfinished} unfinished run{'s' if unfinished > 1 else ''}"
    elif not dry_run:
        # First, because who finds the partition gone doesn't look for its runs again.
        await _delete_blobs(day)
        kept = None if await _drop(partition.name) else IN_USE
    return Dropped(day=day, bytes=partition.bytes, kept=kept)


async def _partitions() -> list[_Partition]:
    """All days, oldest first. Their bounds say which they are; names are only names."""
    rows = await db().fetch(
        """
        SELECT quote_ident(c.relname) AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
               pg_total_relation_size(c.oid) AS bytes
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'journal'::regclass
        """
    )
    # One that is being dropped by somebody else may be listed still, without its bounds.
    found = [(row, _UNTIL.search(row["bounds"] or "")) for row in rows]
    partitions = [
        _Partition(name=row["name"], until=date.fromisoformat(until[1]), bytes=row["bytes"])
        for row, until in found
        if until is not None
    ]
    return sorted(partitions, key=lambda partition: partition.until)


async def _unfinished(day: date) -> int:
    """How many runs that were accepted on that day may still need their journal."""
    begin = datetime.combine(day, time(), UTC)
    return int(
        await db().fetchval(
            """
            SELECT count(*) FROM runs
            WHERE created_at >= $1 AND created_at < $2 AND status NOT IN ('COMPLETED', 'FAILED', 'TERMINATED')
            """,
            begin,
            begin + timedelta(days=1),
        )
    )


async def _delete_blobs(day: date) -> None:
    """Delete what the results of that day's runs don't need. A digest that stands among a result's handles is needed;
    one that stands there by chance, as a pin's name, keeps a blob that could go.
    """
    begin = datetime.combine(day, time(), UTC)
    await db().execute(
        """
        DELETE FROM blobs b USING runs r
        WHERE r.id = b.run_id AND r.created_at >= $1 AND r.created_at < $2 AND (
            r.result_handles IS NULL OR position(convert_to(encode(b.hash, 'hex'), 'UTF8') IN r.result_handles) = 0)
        """,
        begin,
        begin + timedelta(days=1),
    )


async def _drop(name: str) -> bool:
    for turn in range(TURNS):
        if turn:
            await asyncio.sleep(PAUSE_SECONDS)
        try:
            async with db().transaction() as connection:
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                # Somebody else may have just dropped it: that is as good.
                await connection.execute(f"DROP TABLE IF EXISTS {name}")
                return True
        except asyncpg.LockNotAvailableError:
            continue
    return False
