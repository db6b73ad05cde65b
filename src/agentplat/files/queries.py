"""Uploaded files in Postgres. Whose a file is, is part of every statement that somebody's request or run leads to."""

from collections.abc import Sequence
from typing import Any

from agentplat.files.models import StoredFile
from agentplat.infra.db import db

_STORED = "id, name, content_type, size, expires_at"


def _file(row: Any) -> StoredFile | None:
    return None if row is None else StoredFile(**row)


async def announce(user_id: str, file_id: str, name: str, content_type: str, hours: int) -> None:
    """What is about to be stored. Should it never be finished, this is how it is found."""
    await db().execute(
        """
        INSERT INTO files (id, user_id, name, content_type, expires_at)
        VALUES ($1, $2, $3, $4, now() + $5 * interval '1 hour')
        """,
        file_id,
        user_id,
        name,
        content_type,
        hours,
    )


async def finish(file_id: str, size: int, sha256: bytes) -> bool:
    """Let it be seen. False when it is over already."""
    status = await db().execute(
        "UPDATE files SET size = $2, sha256 = $3 WHERE id = $1 AND expires_at > now()", file_id, size, sha256
    )
    return status == "UPDATE 1"


async def find(user_id: str, file_id: str) -> StoredFile | None:
    return _file(
        await db().fetchrow(
            f"""
            SELECT {_STORED} FROM files
            WHERE id = $2 AND user_id = $1 AND size IS NOT NULL AND expires_at > now()
            """,
            user_id,
            file_id,
        )
    )


async def find_linked(file_id: str) -> StoredFile | None:
    """For who has a link to it, whoever that is."""
    return _file(
        await db().fetchrow(
            f"SELECT {_STORED} FROM files WHERE id = $1 AND size IS NOT NULL AND expires_at > now()", file_id
        )
    )


async def expired(most: int) -> list[str]:
    rows = await db().fetch("SELECT id FROM files WHERE expires_at <= now() ORDER BY expires_at LIMIT $1", most)
    return [row["id"] for row in rows]


async def remove(ids: Sequence[str]) -> None:
    await db().execute("DELETE FROM files WHERE id = ANY ($1::text[])", ids)
