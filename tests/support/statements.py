"""How many statements something costs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from agentplat.infra.db import Database

# Of this block. Tasks that were there before have another context, so what goes on beside it is not counted.
_statements: ContextVar[list[str] | None] = ContextVar("statements", default=None)


@contextmanager
def said() -> Iterator[list[str]]:
    """The statements of what the block does, itself or in tasks that it starts, or that is done in rounds for all who
    ask at the same time: those have a context of their own, whoever asks.
    """
    statements: list[str] = []

    def counting(run: Any) -> Any:
        async def counted(self: Database, sql: str, *args: Any) -> Any:
            task = asyncio.current_task()
            if _statements.get() is statements or (task is not None and task.get_name() == "gathering"):
                statements.append(sql)
            return await run(self, sql, *args)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
            patch.setattr(Database, name, counting(getattr(Database, name)))
        before = _statements.set(statements)
        try:
            yield statements
        finally:
            _statements.reset(before)
