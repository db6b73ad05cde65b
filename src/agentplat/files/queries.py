"""Uploaded files in Postgres. Whose a file is, is part of every statement that somebody's request or run leads to."""

from collections.abc import Sequence
from typing import Any

from agentplat.files.models import StoredFile
from agentplat.infra.db import db

_STORED = "id, name, content_type, size, expires_at"


def _file(row: Any) -> StoredFile | None:
    return None if row is None else StoredFile(**row)


async def announce(user_id: str, file_id: str, name: str, content_type: str, hours: int) -> int:
    """What is about to be stored. Should it never be finished, this is how it is found. Returns how many bytes the user
    has stored."""
    used: int = await db().fetchval(
        """
        INSERT INTO files (id, user_id, name, content_type, expires_at)
        VALUES ($1, $2, $3, $4, now() + $5 * interval '1 hour')
        RETURNING COALESCE((SELECT bytes FROM file_usage WHERE user_id = $2), 0)
        """,
        file_id,
        user_id,
        name,
        content_type,
        hours,
    )
    return used


async def finish(file_id: str, size: int, sha256: bytes, most: int) -> bool | None:
    """Let it be seen. None when it is over already; False when its owner would have more than `most` bytes by it: of
    several that end at once, each counts on top of those before it."""
    row = await db().fetchrow(
        """
        WITH file AS MATERIALIZED (
            SELECT id, user_id FROM files WHERE id = $1 AND size IS NULL AND expires_at > now() FOR UPDATE
        ), counted AS (
            INSERT INTO file_usage AS u (user_id, bytes) SELECT user_id, $2::bigint FROM file WHERE $2 <= $4::bigint
            ON CONFLICT (user_id) DO UPDATE SET bytes = u.bytes + EXCLUDED.bytes WHERE u.bytes + EXCLUDED.bytes <= $4
            RETURNING user_id
        ), seen AS (
            UPDATE files SET size = $2, sha256 = $3 FROM file WHERE files.id = file.id AND EXISTS (SELECT FROM counted)
            RETURNING files.id
        )
        SELECT EXISTS (SELECT FROM file) AS there, EXISTS (SELECT FROM seen) AS done
        """,
        file_id,
        size,
        sha256,
        most,
    )
    return bool(row["done"]) if row["there"] else None


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
    """Users' bytes are given back in the order of their ids, so that two who remove at once don't wait for each
    other."""
    await db().execute(
        """
        WITH gone AS (
            DELETE FROM files WHERE id = ANY ($1::text[]) RETURNING user_id, size
        ), freed AS (
            SELECT user_id, sum(size) AS bytes FROM gone WHERE size IS NOT NULL GROUP BY user_id
        ), locked AS MATERIALIZED (
            SELECT u.user_id, freed.bytes FROM file_usage u JOIN freed USING (user_id)
            ORDER BY u.user_id FOR NO KEY UPDATE OF u
        )
        UPDATE file_usage u SET bytes = u.bytes - locked.bytes FROM locked WHERE u.user_id = locked.user_id
        """,
        ids,
    )
