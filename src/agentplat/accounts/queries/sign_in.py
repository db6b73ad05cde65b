"""Logins and sessions in Postgres."""

from datetime import datetime
from typing import Any

from asyncpg import UniqueViolationError

from agentplat.accounts.models import Login
from agentplat.infra.db import db

SESSION_DAYS = 30

_LOGIN = """
    u.id, u.email, u.pending_email, u.email_verified, u.name, date_trunc('milliseconds', u.created_at) AS created_at,
    date_trunc('milliseconds', u.updated_at) AS updated_at, l.role, l.password_hash,
    date_trunc('milliseconds', l.last_sign_in_at) AS last_sign_in_at
"""


def _login(row: Any) -> Login | None:
    return None if row is None else Login(**dict(row))


async def insert(user_id: str, email: str, name: str | None, password_hash: str | None, role: str) -> Login | None:
    """A new user who signs in here; None when the address is somebody's."""
    try:
        row = await db().fetchrow(
            f"""
            WITH u AS (
                INSERT INTO users (id, email, name) VALUES ($1, $2, $3) RETURNING *
            ), l AS (
                INSERT INTO logins (user_id, password_hash, role) VALUES ($1, $4, $5) RETURNING *
            )
            SELECT {_LOGIN} FROM u CROSS JOIN l
            """,
            user_id,
            email,
            name,
            password_hash,
            role,
        )
    except UniqueViolationError:
        return None
    return _login(row)


async def by_email(email: str) -> Login | None:
    return _login(
        await db().fetchrow(
            f"SELECT {_LOGIN} FROM users u LEFT JOIN logins l ON l.user_id = u.id WHERE lower(u.email) = lower($1)",
            email,
        )
    )


async def by_id(user_id: str, session_id: str | None = None) -> Login | None:
    """The user, and whether that session of theirs goes on."""
    return _login(
        await db().fetchrow(
            f"""
            SELECT {_LOGIN}, $2::text IS NULL OR EXISTS (
                SELECT FROM sessions WHERE id = $2 AND user_id = u.id AND revoked_at IS NULL AND expires_at > now()
            ) AS session_alive
            FROM users u LEFT JOIN logins l ON l.user_id = u.id WHERE u.id = $1
            """,
            user_id,
            session_id,
        )
    )


async def open_session(
    user_id: str, session_id: str, known_hash: str | None = None, new_hash: str | None = None
) -> datetime | None:
    """Answers when that was. Sessions of the user that are over go, so that they don't pile up.

    `known_hash` is the password's hash that let the user in; None where it isn't that any more. `new_hash` replaces it.
    """
    moment: datetime | None = await db().fetchval(
        f"""
        WITH gone AS (
            DELETE FROM sessions WHERE user_id = $1 AND (revoked_at IS NOT NULL OR expires_at < now())
        ), login AS (
            INSERT INTO logins AS l (user_id, last_sign_in_at) VALUES ($1, now())
            ON CONFLICT (user_id)
                DO UPDATE SET last_sign_in_at = now(), password_hash = COALESCE($4, l.password_hash)
                WHERE $3::text IS NULL OR l.password_hash = $3
            RETURNING user_id
        )
        INSERT INTO sessions (id, user_id, expires_at)
        SELECT $2, user_id, now() + interval '{SESSION_DAYS} days' FROM login
        RETURNING date_trunc('milliseconds', now())
        """,
        user_id,
        session_id,
        known_hash,
        new_hash,
    )
    return moment


async def rotate(session_id: str, generation: int, grace_seconds: float) -> tuple[Login, int | None] | None:
    """Use a refresh token. Answers with its user and the number of the token that counts now.

    That number is None when the token had been used before, which ends the session: of two who hold the same token one
    has stolen it. Who comes within the grace is taken for the same client asking twice, and gets the same successor.
    All is decided in one statement: of several at once the first changes the row, and the others see it changed.
    """
    row = await db().fetchrow(
        f"""
        UPDATE sessions s SET
            generation = CASE WHEN s.generation = $2 THEN s.generation + 1 ELSE s.generation END,
            rotated_at = CASE WHEN s.generation = $2 THEN clock_timestamp() ELSE s.rotated_at END,
            expires_at = CASE
                WHEN s.generation = $2 THEN now() + interval '{SESSION_DAYS} days' ELSE s.expires_at
            END,
            revoked_at = CASE
                WHEN s.generation = $2 THEN NULL
                WHEN s.generation = $2 + 1 AND s.rotated_at > clock_timestamp() - $3 * interval '1 second' THEN NULL
                ELSE clock_timestamp()
            END
        FROM users u LEFT JOIN logins l ON l.user_id = u.id
        WHERE s.id = $1 AND u.id = s.user_id AND s.revoked_at IS NULL AND s.expires_at > now()
        RETURNING {_LOGIN}, s.revoked_at IS NULL AS session_alive, s.generation
        """,
        session_id,
        generation,
        grace_seconds,
    )
    if row is None:
        return None
    members = dict(row)
    counting = members.pop("generation")
    login = Login(**members)
    return login, counting if login.session_alive else None


async def end_sessions(user_id: str, session_id: str | None, scope: str) -> None:
    """`local`: this one; `others`: all but this one; `global`: all."""
    await db().execute(
        """
        UPDATE sessions SET revoked_at = now()
        WHERE user_id = $1 AND revoked_at IS NULL AND CASE $3
            WHEN 'local' THEN id = $2 WHEN 'others' THEN id IS DISTINCT FROM $2 ELSE true
        END
        """,
        user_id,
        session_id,
        scope,
    )


async def set_password(user_id: str, password_hash: str, keep_session: str | None) -> None:
    """Whoever knows the old password, or holds a session, is out: except for the session that sets the new one.

    For a unit of work. The password comes first, so that who is just being let in by the old one is either refused, or
    has a session by the time that sessions are looked for.
    """
    await db().execute(
        """
        WITH links AS (
            DELETE FROM one_time_tokens WHERE user_id = $1 AND kind = 'recovery'
        )
        INSERT INTO logins (user_id, password_hash) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET password_hash = EXCLUDED.password_hash
        """,
        user_id,
        password_hash,
    )
    await end_sessions(user_id, keep_session, "others")


async def set_name(user_id: str, name: str | None) -> None:
    await db().execute("UPDATE users SET name = $2, updated_at = now() WHERE id = $1", user_id, name)


async def set_role(email: str, role: str) -> str | None:
    """The id of the user whose role it is now. Their tokens say so from the next one on."""
    user_id: str | None = await db().fetchval(
        """
        INSERT INTO logins (user_id, role) SELECT id, $2 FROM users WHERE lower(email) = lower($1)
        ON CONFLICT (user_id) DO UPDATE SET role = EXCLUDED.role RETURNING user_id
        """,
        email,
        role,
    )
    return user_id


async def confirm_email(user_id: str, address: str) -> bool | None:
    """Make the address count that the user waits for. None when it is somebody's by now, False when it isn't wanted.

    Who reads the mails of the address before it is not the user any more, so links that went there are worth nothing.
    """
    try:
        done = await db().execute(
            """
            WITH confirmed AS (
                UPDATE users SET email = pending_email, pending_email = NULL, email_verified = true, updated_at = now()
                WHERE id = $1 AND pending_email = $2 RETURNING id
            ), links AS (
                DELETE FROM one_time_tokens t USING confirmed c WHERE t.user_id = c.id AND t.kind = 'recovery'
            )
            SELECT FROM confirmed
            """,
            user_id,
            address,
        )
    except UniqueViolationError:
        return None
    return done == "SELECT 1"
