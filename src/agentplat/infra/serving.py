"""The request that this code serves, if it serves one: for logs, and for telling the client where its time went."""

from contextvars import ContextVar


class Served:
    """One request. What handles it in another task counts as well, if that was started from here."""

    __slots__ = ("database_seconds", "database_uses", "id")

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        # With a connection of the database, or waiting for one.
        self.database_seconds = 0.0
        self.database_uses = 0


serving: ContextVar[Served | None] = ContextVar("serving", default=None)
