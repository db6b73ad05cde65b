"""One-time tokens in Postgres: looked up by hash, gone with their use."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from agentplat.accounts.models import OneTimeKind
from agentplat.infra.crypto import ID_BYTES, ID_POSITION
from agentplat.infra.db import db


class Waiting(Struct, frozen=True, kw_only=True):
    hash: bytes
    user_id: str
    kind: OneTimeKind
    address: str
    sealed: bytes
    redirect_to: str
    expires_at: datetime


async def insert(
    user_id: str, kind: OneTimeKind, address: str, hash_: bytes, sealed: bytes, redirect_to: str, hours: int
) -> None:
    """The newest of a kind is the only one. One for the same new address stays as it is while it is good."""
    await db().execute(
        """
        INSERT INTO one_time_tokens AS t (hash, user_id, kind, address, sealed, redirect_to, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 hour')
        ON CONFLICT (user_id, kind) DO UPDATE SET
            hash = EXCLUDED.hash, address = EXCLUDED.address, sealed = EXCLUDED.sealed,
            redirect_to = EXCLUDED.redirect_to, created_at = now(), expires_at = EXCLUDED.expires_at
        WHERE t.kind = 'recovery' OR t.address <> EXCLUDED.address OR t.expires_at <= now()
        """,
        hash_,
        user_id,
        kind,
        address,
        sealed,
        redirect_to,
        hours,
    )


async def redeem(hash_: bytes, kind: OneTimeKind) -> tuple[str, str] | None:
    """The user and the address of a token, which nobody can use again."""
    row = await db().fetchrow(
        "DELETE FROM one_time_tokens WHERE hash = $1 AND kind = $2 AND expires_at > now() RETURNING user_id, address",
        hash_,
        kind,
    )
    return (row["user_id"], row["address"]) if row else None


async def waiting(email: str | None) -> list[Waiting]:
    """What waits to be mailed, to one user or to all."""
    rows = await db().fetch(
        """
        SELECT t.hash, t.user_id, t.kind, t.address, t.sealed, t.redirect_to, t.expires_at
        FROM one_time_tokens t JOIN users u ON u.id = t.user_id
        WHERE t.expires_at > now() AND ($1::text IS NULL OR lower($1) IN (lower(u.email), lower(t.address)))
        ORDER BY t.created_at
        """,
        email,
    )
    return [Waiting(**{**row, "kind": OneTimeKind(row["kind"])}) for row in rows]


async def sealed_otherwise(key_id: bytes) -> list[Waiting]:
    """Those that were sealed with another key."""
    rows = await db().fetch(
        f"""
        SELECT hash, user_id, kind, address, sealed, redirect_to, expires_at FROM one_time_tokens
        WHERE expires_at > now() AND substring(sealed FROM {ID_POSITION} FOR {ID_BYTES}) <> $1
        """,
        key_id,
    )
    return [Waiting(**{**row, "kind": OneTimeKind(row["kind"])}) for row in rows]


async def replace_sealed(changes: Sequence[tuple[bytes, bytes, bytes]]) -> None:
    """(hash, as it was, as it shall be): a row that changed in the meantime stays."""
    await db().executemany("UPDATE one_time_tokens SET sealed = $3 WHERE hash = $1 AND sealed = $2", changes)


async def remove_expired() -> None:
    await db().execute("DELETE FROM one_time_tokens WHERE expires_at <= now()")
