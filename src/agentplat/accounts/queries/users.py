"""Users in Postgres. An address is compared without its case, and the index decides whose it is."""

from collections.abc import Mapping
from typing import Any

from asyncpg import UniqueViolationError
from msgspec import Struct

from agentplat.accounts.models import Account, Asked, NotificationType, User
from agentplat.infra.db import db

# The kinds that a user can do without.
FLAGS = {kind: f"notify_on_{kind.lower()}" for kind in NotificationType if not kind.startswith("REFUND_")}
_MUTED = ", ".join(f"{flag} = false" for flag in FLAGS.values()) + ", updated_at = now()"
# Times are cut to milliseconds: what the contract shows.
COLUMNS = ", ".join(
    (
        *("id", "email", "email_verified", "name", "timezone", "max_emails_per_day"),
        *(f"date_trunc('milliseconds', {name}) AS {name}" for name in ("created_at", "updated_at")),
        *FLAGS.values(),
    )
)


class Row(Struct, frozen=True, kw_only=True):
    """A user's account with the address that it waits for."""

    account: Account
    pending_email: str | None


async def insert_missing(user: User) -> None:
    """Two first requests of one user may come at once: the later one finds the row and leaves it.

    Whose address is another user's already goes without: that is no reason not to let them in.
    """
    statement = "INSERT INTO users (id, email, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
    if await db().execute(statement, user.id, user.email, user.name) == "INSERT 0 0":
        await db().execute(statement, user.id, None, user.name)


async def act_as(admin: User, user_id: str, asked: Asked) -> User | None:
    """The user, if there is one, and a record of who asked for what in their name."""
    row = await db().fetchrow(
        """
        WITH u AS (
            SELECT id, email, name FROM users WHERE id = $3
        ), noted AS (
            INSERT INTO impersonations (admin_id, admin_email, user_id, method, path, request_id)
            SELECT $1, $2, id, $4, $5, $6 FROM u
        )
        SELECT * FROM u
        """,
        admin.id,
        admin.email,
        user_id,
        asked.method,
        asked.path,
        asked.request_id,
    )
    return User(id=row["id"], email=row["email"], name=row["name"]) if row else None


async def get(user_id: str) -> Account | None:
    row = await db().fetchrow(f"SELECT {COLUMNS} FROM users WHERE id = $1", user_id)
    return _account(row)


async def complete(user: User) -> Account | None:
    """The user's account, with what the token knows and the row didn't. None when the address is somebody else's."""
    try:
        row = await db().fetchrow(
            f"""
            UPDATE users SET email = COALESCE(email, $2), name = COALESCE(name, $3), updated_at = now()
            WHERE id = $1 RETURNING {COLUMNS}
            """,
            user.id,
            user.email,
            user.name,
        )
    except UniqueViolationError:
        return None
    return _account(row)


async def timezone(user_id: str) -> str | None:
    zone: str | None = await db().fetchval("SELECT timezone FROM users WHERE id = $1", user_id)
    return zone


async def set_timezone(user_id: str, zone: str) -> None:
    await db().execute("UPDATE users SET timezone = $2, updated_at = now() WHERE id = $1", user_id, zone)


async def mute(user_id: str) -> None:
    await db().execute(f"UPDATE users SET {_MUTED} WHERE id = $1", user_id)


async def mute_address(address: str) -> None:
    """The same for whoever has the address."""
    await db().execute(f"UPDATE users SET {_MUTED} WHERE lower(email) = lower($1)", address)


async def unverify_address(address: str) -> None:
    await db().execute(
        "UPDATE users SET email_verified = false, updated_at = now() WHERE lower(email) = lower($1)", address
    )


async def change(
    user_id: str, email: str, flags: Mapping[NotificationType, bool] | None = None, daily_limit: int | None = None
) -> Row | None:
    """Take what is given; None when the address is another user's. Back to the present address ends the waiting."""
    given = {kind: wants for kind, wants in (flags or {}).items() if kind in FLAGS}
    settings = "".join(f", {FLAGS[kind]} = ${number}" for number, kind in enumerate(given, start=4))
    row = await db().fetchrow(
        f"""
        UPDATE users SET
            pending_email = CASE WHEN lower(email) = lower($2) THEN NULL ELSE $2 END,
            max_emails_per_day = COALESCE($3, max_emails_per_day), updated_at = now() {settings}
        WHERE id = $1 AND NOT EXISTS (SELECT FROM users o WHERE lower(o.email) = lower($2) AND o.id <> $1)
        RETURNING pending_email, {COLUMNS}
        """,
        user_id,
        email,
        daily_limit,
        *given.values(),
    )
    if row is None:
        return None
    members = dict(row)
    pending = members.pop("pending_email")
    return Row(account=Account(**members), pending_email=pending)


def _account(row: Any) -> Account | None:
    return None if row is None else Account(**dict(row))
