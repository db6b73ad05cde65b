"""Credentials in Postgres. Whose they are is part of every statement that a user's request or run leads to."""

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct

from agentplat.infra.crypto import ID_BYTES, ID_POSITION
from agentplat.infra.db import db
from agentplat.infra.uow import unit_of_work
from agentplat.integrations.models import CredentialsSummary

_SUMMARY = "id, provider, type, title, scopes, username, host"


class Sealed(Struct, frozen=True, kw_only=True):
    user_id: str
    id: str
    sealed: bytes


def _summaries(rows: Sequence[Any]) -> list[CredentialsSummary]:
    return [CredentialsSummary(**row) for row in rows]


async def insert(user_id: str, shown: CredentialsSummary, sealed: bytes, most: int) -> bool:
    """False when the id is taken, or the user has as many as there may be."""
    async with unit_of_work():
        # By itself, and first: of two who come at once, the later one must count what the other has made.
        await db().execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
        status = await db().execute(
            f"""
            INSERT INTO credentials (user_id, {_SUMMARY}, sealed)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
            WHERE (SELECT count(*) FROM credentials WHERE user_id = $1) < $10
            ON CONFLICT DO NOTHING
            """,
            user_id,
            shown.id,
            shown.provider,
            shown.type,
            shown.title,
            shown.scopes,
            shown.username,
            shown.host,
            sealed,
            most,
        )
    return status == "INSERT 0 1"


async def list_of_user(user_id: str, provider: str | None) -> list[CredentialsSummary]:
    return _summaries(
        await db().fetch(
            f"""
            SELECT {_SUMMARY} FROM credentials WHERE user_id = $1 AND ($2::text IS NULL OR provider = $2)
            ORDER BY created_at, id
            """,
            user_id,
            provider,
        )
    )


async def find(user_id: str, ids: Collection[str]) -> list[CredentialsSummary]:
    """Those of these that are there and the user's."""
    return _summaries(
        await db().fetch(
            f"SELECT {_SUMMARY} FROM credentials WHERE user_id = $1 AND id = ANY ($2::text[])", user_id, list(ids)
        )
    )


async def sealed(user_id: str, credentials_id: str, provider: str | None = None) -> bytes | None:
    found: bytes | None = await db().fetchval(
        """
        SELECT sealed FROM credentials WHERE user_id = $1 AND id = $2 AND ($3::text IS NULL OR provider = $3)
        """,
        user_id,
        credentials_id,
        provider,
    )
    return found


async def delete(user_id: str, provider: str, credentials_id: str) -> str | None:
    """The type of what was deleted."""
    kind: str | None = await db().fetchval(
        "DELETE FROM credentials WHERE user_id = $1 AND id = $3 AND provider = $2 RETURNING type",
        user_id,
        provider,
        credentials_id,
    )
    return kind


async def sealed_otherwise(key_id: bytes, after: tuple[str, str], most: int) -> list[Sealed]:
    """Those of all users that were sealed with another key, in the order of their keys, from behind `after`."""
    rows = await db().fetch(
        f"""
        SELECT user_id, id, sealed FROM credentials
        WHERE (user_id, id) > ($2, $3) AND substring(sealed FROM {ID_POSITION} FOR {ID_BYTES}) <> $1
        ORDER BY user_id, id LIMIT $4
        """,
        key_id,
        *after,
        most,
    )
    return [Sealed(**row) for row in rows]


async def replace_sealed(changes: Sequence[tuple[str, str, bytes, bytes]]) -> None:
    """(user, id, as it was, as it shall be): a row that changed in the meantime stays."""
    await db().executemany("UPDATE credentials SET sealed = $4 WHERE user_id = $1 AND id = $2 AND sealed = $3", changes)
