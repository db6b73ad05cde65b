import pytest

from agentplat.credits import service
from agentplat.infra import settings as settings_module
from agentplat.infra.db import Database


async def test_switched_off_credits_are_enough_for_everything(db: Database) -> None:
    assert await service.balance("anybody") == 100


async def test_the_balance_is_what_the_table_says(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_CREDIT", "true")
    settings_module.get_settings.cache_clear()
    try:
        await db.execute("INSERT INTO users (id) VALUES ('rich'), ('new')")
        await db.execute("INSERT INTO balances (user_id, balance) VALUES ('rich', 250)")
        assert [await service.balance(user) for user in ("rich", "new", "nobody")] == [250, 0, 0]
    finally:
        monkeypatch.undo()
        settings_module.get_settings.cache_clear()
