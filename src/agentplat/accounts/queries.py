from agentplat.accounts.models import User
from agentplat.infra.db import db


async def insert_missing(user: User) -> None:
    """Two first requests of one user may come at once: the later one finds the row and leaves it."""
    await db().execute(
        "INSERT INTO users (id, email, name) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        user.id,
        user.email,
        user.name,
    )


async def find(user_id: str) -> User | None:
    row = await db().fetchrow("SELECT id, email, name FROM users WHERE id = $1", user_id)
    return User(id=row["id"], email=row["email"], name=row["name"]) if row else None
