import asyncio
import os
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest
from piccolo.conf.apps import table_finder

from agentplat.infra.errors import ConfigError, Unavailable
from agentplat.infra.migrate import migrate, pending
from agentplat.infra.settings import Settings
from agentplat.piccolo_app import APP_CONFIG
from tests.support.services import Servers, create_database, drop_database


@pytest.fixture
async def empty(services: Servers, settings: Settings, worker_number: int) -> AsyncIterator[Settings]:
    """Settings for a database in which nothing was ever done."""
    name = f"agentplat_test_empty_{worker_number}"
    url = await create_database(services.database_url, name, template="template0")
    yield msgspec.structs.replace(settings, database_url=url)
    await drop_database(services.database_url, name)


async def test_applies_everything_once(empty: Settings) -> None:
    expected = await pending(empty)
    assert expected
    assert await migrate(empty) == expected
    assert await migrate(empty) == []
    assert await pending(empty) == []


async def test_two_processes_at_once_apply_each_migration_once(empty: Settings) -> None:
    expected = await pending(empty)
    script = "import sys; sys.argv = ['agentplat', 'migrate']; from agentplat.cli.main import main; main()"
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env={**os.environ, "DATABASE_URL": str(empty.database_url)},
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = [(await process.communicate())[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(output.count("applied ") for output in outputs) == len(expected)
    assert await pending(empty) == []


async def test_every_domain_table_is_known_and_exists(empty: Settings) -> None:
    names = {table._meta.tablename for table in APP_CONFIG.table_classes}
    assert {"users", "runs", "graph_versions"} <= names
    assert table_finder(["agentplat.runs.tables"])[0] in APP_CONFIG.table_classes


async def test_unreachable_database_is_named(settings: Settings) -> None:
    with pytest.raises(Unavailable, match="Postgres can't be reached"):
        await migrate(msgspec.structs.replace(settings, database_url="postgresql://127.0.0.1:1/none"))


async def test_missing_database_is_named(services: Servers, settings: Settings) -> None:
    from tests.support.services import database_of

    with pytest.raises(ConfigError, match="no_such_database"):
        await migrate(
            msgspec.structs.replace(settings, database_url=database_of(services.database_url, "no_such_database"))
        )
