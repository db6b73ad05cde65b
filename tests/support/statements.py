"""How many statements something costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agentplat.infra.db import Database


@contextmanager
def said() -> Iterator[list[str]]:
    """The statements of this process, while the block runs."""
    statements: list[str] = []

    def counting(run: Any) -> Any:
        async def counted(self: Database, sql: str, *args: Any) -> Any:
            statements.append(sql)
            return await run(self, sql, *args)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
            patch.setattr(Database, name, counting(getattr(Database, name)))
        yield statements
