"""The request that this code serves, if it serves one: for logs, and for telling the client where its time went."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter


class Served:
    """One request. What handles it in another task counts as well, if that was started from here."""

    __slots__ = ("database_seconds", "database_uses", "id")

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        # With a connection of the database, or waiting for one.
        self.database_seconds = 0.0
        self.database_uses = 0


serving: ContextVar[Served | None] = ContextVar("serving", default=None)


@contextmanager
def using_database() -> Iterator[None]:
    """Count the block as one use of the database for the request that it serves, if it serves one."""
    served, began = serving.get(), perf_counter()
    try:
        yield
    finally:
        if served is not None:
            served.database_seconds += perf_counter() - began
            served.database_uses += 1
