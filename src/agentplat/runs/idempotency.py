"""Idempotency keys: a request that is sent again under its key starts nothing again.

A key is claimed in the transaction that inserts the run, so the unique key decides between requests that come at once,
and neither a crash nor a lost Redis can leave one without the other.
"""

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from agentplat.infra.db import db
from agentplat.runs.errors import IdempotencyKeyReused
from agentplat.runs.models import ExecuteBody

LIFETIME_HOURS = 24
# One DELETE of everything could take longer than a statement may.
REMOVED_AT_ONCE = 10_000

_LIVE = f"created_at > now() - interval '{LIFETIME_HOURS} hours'"


class Claim(Struct, frozen=True, kw_only=True):
    """What a key stands for: a request, the run that it started, and the answer that it got."""

    fingerprint: bytes
    run_id: str
    response: bytes

    def check(self, fingerprint: bytes) -> None:
        """Refuse a request other than the one that the key was first used for."""
        if self.fingerprint != fingerprint:
            raise IdempotencyKeyReused


def fingerprint(graph_id: str, version: int | None, preset_id: str | None, body: ExecuteBody) -> bytes:
    """The same for requests that ask for the same run, however their JSON is written."""
    return sha256(msgspec.json.encode(["execute", graph_id, version, preset_id, body], order="sorted")).digest()


async def find(user_id: str, keys: Collection[str]) -> dict[str, Claim]:
    """What those of the keys stand for that stand for something."""
    rows = await db().fetch(
        f"""
        SELECT key, fingerprint, run_id, response FROM idempotency_keys
        WHERE user_id = $1 AND key = ANY($2::text[]) AND {_LIVE}
        """,
        user_id,
        list(keys),
    )
    return _claims(rows)


async def claim(user_id: str, wanted: Mapping[str, Claim]) -> dict[str, Claim]:
    """Take keys. Returns who has them now: what is `wanted`, or an earlier claim that has not expired.

    Waits for a transaction that is just claiming one of the keys; all do so in the order of the keys, so no two wait
    for each other. On a conflict the row is always written, if only with what it held, because that is what makes
    RETURNING see a row that was committed after this statement began.
    """
    keys = sorted(wanted)
    rows = await db().fetch(
        f"""
        INSERT INTO idempotency_keys AS k (user_id, key, fingerprint, run_id, response)
        SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::text[], $5::bytea[])
        ON CONFLICT (user_id, key) DO UPDATE SET
            fingerprint = CASE WHEN k.{_LIVE} THEN k.fingerprint ELSE excluded.fingerprint END,
            run_id = CASE WHEN k.{_LIVE} THEN k.run_id ELSE excluded.run_id END,
            response = CASE WHEN k.{_LIVE} THEN k.response ELSE excluded.response END,
            created_at = CASE WHEN k.{_LIVE} THEN k.created_at ELSE excluded.created_at END
        RETURNING key, fingerprint, run_id, response
        """,
        user_id,
        keys,
        [wanted[key].fingerprint for key in keys],
        [wanted[key].run_id for key in keys],
        [wanted[key].response for key in keys],
    )
    return _claims(rows)


def _claims(rows: Iterable[Any]) -> dict[str, Claim]:
    return {
        row["key"]: Claim(fingerprint=row["fingerprint"], run_id=row["run_id"], response=row["response"])
        for row in rows
    }


async def release(user_id: str, keys: Collection[str]) -> None:
    """Give keys back that this transaction has claimed."""
    await db().execute("DELETE FROM idempotency_keys WHERE user_id = $1 AND key = ANY($2::text[])", user_id, list(keys))


async def count_expired() -> int:
    return int(await db().fetchval(f"SELECT count(*) FROM idempotency_keys WHERE NOT ({_LIVE})"))


async def remove_expired() -> int:
    """Their number. One that is met before it is removed counts as absent, so nothing depends on when this happens."""
    removed = 0
    while True:
        status = await db().execute(
            f"""
            DELETE FROM idempotency_keys
            WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM idempotency_keys WHERE NOT ({_LIVE}) LIMIT {REMOVED_AT_ONCE} FOR UPDATE SKIP LOCKED
            ))
            """
        )
        count = int(status.rpartition(" ")[2])
        removed += count
        if count < REMOVED_AT_ONCE:
            return removed
