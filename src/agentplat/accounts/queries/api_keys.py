"""API keys in Postgres. Whose a key is, is part of every statement that a user's request leads to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from agentplat.accounts.models import ApiKeyBody, ApiKeyInfo, ApiKeyStatus, Permission, User
from agentplat.infra.crypto import ID_BYTES
from agentplat.infra.db import db
from agentplat.infra.uow import unit_of_work

TOUCHED_EVERY = "interval '1 minute'"

_INFO = "id, user_id, name, description, head, tail, status, permissions AS scopes, " + ", ".join(
    f"date_trunc('milliseconds', {name}) AS {name}"
    for name in ("created_at", "expires_at", "last_used_at", "revoked_at")
)


class Found(Struct, frozen=True, kw_only=True):
    """Whose key it is and what it is good for. `stale`: its use has to be written down."""

    id: str
    user: User
    permissions: frozenset[str]
    usable: bool
    stale: bool


def _info(row: Any) -> ApiKeyInfo | None:
    if row is None:
        return None
    members = dict(row)
    return ApiKeyInfo(
        **{
            **members,
            "status": ApiKeyStatus(members["status"]),
            "scopes": [Permission(name) for name in members["scopes"]],
        }
    )


async def insert(
    user_id: str, key_id: str, body: ApiKeyBody, head: str, tail: str, hash_: bytes, most: int
) -> ApiKeyInfo | None:
    """None when the user has as many keys as there may be, not counting revoked ones.

    Of several at once each counts what those before it have made: they wait for the user's row, and a statement sees
    what was committed before it began. Rows that refer to the user don't wait for it.
    """
    async with unit_of_work():
        await db().execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
        return _info(
            await db().fetchrow(
                f"""
                INSERT INTO api_keys (id, user_id, name, description, head, tail, hash, permissions, expires_at)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
                WHERE (SELECT count(*) FROM api_keys WHERE user_id = $2 AND status <> 'REVOKED') < $10
                RETURNING {_INFO}
                """,
                key_id,
                user_id,
                body.name,
                body.description,
                head,
                tail,
                hash_,
                list(dict.fromkeys(body.permissions)),
                body.expires_at,
                most,
            )
        )


async def list_of_user(user_id: str, limit: int) -> list[ApiKeyInfo]:
    """The newest first. Where there are too many, those that were revoked give way: a key that works and can't be seen
    can't be revoked.
    """
    rows = await db().fetch(
        f"""
        SELECT {_INFO} FROM (
            SELECT * FROM api_keys WHERE user_id = $1
            ORDER BY status = 'REVOKED', created_at DESC, id DESC LIMIT $2
        ) AS api_keys ORDER BY api_keys.created_at DESC, id DESC
        """,
        user_id,
        limit,
    )
    return [info for row in rows if (info := _info(row))]


async def get(user_id: str, key_id: str) -> ApiKeyInfo | None:
    return _info(await db().fetchrow(f"SELECT {_INFO} FROM api_keys WHERE id = $2 AND user_id = $1", user_id, key_id))


async def revoke(user_id: str, key_id: str) -> ApiKeyInfo | None:
    """One that was revoked already stays as it is."""
    return _info(
        await db().fetchrow(
            f"""
            UPDATE api_keys SET status = 'REVOKED', revoked_at = COALESCE(revoked_at, now())
            WHERE id = $2 AND user_id = $1 RETURNING {_INFO}
            """,
            user_id,
            key_id,
        )
    )


async def change(
    user_id: str, key_id: str, status: ApiKeyStatus | None = None, permissions: Sequence[str] | None = None
) -> ApiKeyInfo | None:
    """None also for a key that was revoked, which is final."""
    return _info(
        await db().fetchrow(
            f"""
            UPDATE api_keys SET status = COALESCE($3, status), permissions = COALESCE($4, permissions)
            WHERE id = $2 AND user_id = $1 AND status <> 'REVOKED' RETURNING {_INFO}
            """,
            user_id,
            key_id,
            status,
            None if permissions is None else list(dict.fromkeys(permissions)),
        )
    )


async def by_hash(hashes: Sequence[bytes]) -> Found | None:
    """The key with one of these hashes, which are those of one key under each of our own."""
    row = await db().fetchrow(
        f"""
        SELECT k.id, k.user_id, u.email, u.name, k.permissions,
            k.status = 'ACTIVE' AND (k.expires_at IS NULL OR k.expires_at > now()) AS usable,
            k.hash <> $2 OR k.last_used_at IS NULL OR k.last_used_at < now() - {TOUCHED_EVERY} AS stale
        FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.hash = ANY ($1::bytea[])
        """,
        hashes,
        hashes[0],
    )
    if row is None:
        return None
    return Found(
        id=row["id"],
        user=User(id=row["user_id"], email=row["email"], name=row["name"]),
        permissions=frozenset(row["permissions"]),
        usable=row["usable"],
        stale=row["stale"],
    )


async def touch(key_id: str, hash_: bytes) -> bool:
    """Write down that it was used, and its hash under our newest key. Of several at once one writes, and gets True."""
    done = await db().execute(
        f"""
        UPDATE api_keys SET last_used_at = now(), hash = $2
        WHERE id = $1 AND (hash <> $2 OR last_used_at IS NULL OR last_used_at < now() - {TOUCHED_EVERY})
        """,
        key_id,
        hash_,
    )
    return bool(done == "UPDATE 1")


async def count_under_other_keys(key_id: bytes, at: datetime) -> int:
    """API keys that can be used and whose hash was made with another key than this."""
    return int(
        await db().fetchval(
            f"""
            SELECT count(*) FROM api_keys WHERE substring(hash FROM 1 FOR {ID_BYTES}) <> $1
            AND status <> 'REVOKED' AND (expires_at IS NULL OR expires_at > $2)
            """,
            key_id,
            at,
        )
    )
