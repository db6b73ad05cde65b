"""What happens to users that were there before addresses belonged to one of them."""

import importlib.util
from typing import Any

from agentplat.infra.db import Database
from agentplat.piccolo_app import APP_CONFIG


def migration(name: str) -> Any:
    path = f"{APP_CONFIG.migrations_folder_path}/agentplat_{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def run(name: str, backwards: bool) -> None:
    await (await migration(name).forwards()).run(backwards=backwards)


async def test_the_oldest_of_several_keeps_the_address(db: Database) -> None:
    name = "2026_11_22t17_00_00"
    async with db.transaction():
        await run(name, backwards=True)
        await db.execute(
            """
            INSERT INTO users (id, email, created_at) VALUES ('b', 'A@b.c', '2026-01-02'), ('a', 'a@b.c', '2026-01-01'),
                ('c', 'a@B.c', '2026-01-03'), ('d', NULL, '2026-01-01'), ('e', 'e@b.c', '2026-01-01')
            """
        )
        await run(name, backwards=False)
        rows = await db.fetch("SELECT id, email, notify_on_agent_run FROM users ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("a", "a@b.c", True),
        ("b", None, True),
        ("c", None, True),
        ("d", None, True),
        ("e", "e@b.c", True),
    ]


async def test_the_others_come_and_go(db: Database) -> None:
    names = ["2026_11_22t17_10_00", "2026_11_22t17_20_00"]
    async with db.transaction():
        for name in reversed(names):
            await run(name, backwards=True)
        assert await db.fetchval("SELECT to_regclass('api_keys') IS NULL AND to_regclass('sessions') IS NULL")
        for name in names:
            await run(name, backwards=False)
