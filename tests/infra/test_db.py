import asyncio
from contextlib import suppress

import asyncpg
import msgspec
import pytest
from piccolo.columns import Text
from piccolo.table import Table

from agentplat.infra import db as db_module
from agentplat.infra.db import DATABASE_AWAY, Database
from agentplat.infra.errors import ConfigError
from agentplat.infra.settings import Settings
from agentplat.infra.uow import after_commit, unit_of_work
from tests.support.conditions import until
from tests.support.serving import serving


class Users(Table, tablename="users"):
    id = Text(primary_key=True)


INSERT = "INSERT INTO users (id) VALUES ($1)"
COUNT = "SELECT count(*) FROM users"


async def test_a_unit_of_work_commits_once_at_its_end(db: Database) -> None:
    async with unit_of_work():
        await db.execute(INSERT, "outer")
        async with unit_of_work():
            await db.execute(INSERT, "inner")
        assert await db.pool.fetchval(COUNT) == 0
    assert await db.pool.fetchval(COUNT) == 2


async def test_piccolo_and_our_sql_share_the_transaction(db: Database) -> None:
    with suppress(LookupError):
        async with unit_of_work():
            await db.execute(INSERT, "ours")
            await Users.insert(Users(id="piccolo"))
            assert await Users.count() == 2
            raise LookupError
    assert await Users.count() == 0


async def test_after_commit_runs_only_after_the_outermost_commit(db: Database) -> None:
    seen: list[int] = []

    async def look() -> None:
        seen.append(await db.fetchval(COUNT))

    async with unit_of_work():
        async with unit_of_work():
            after_commit(look)
            await db.execute(INSERT, "one")
        assert seen == []
    assert seen == [1]


async def test_after_commit_is_dropped_by_a_rollback(db: Database) -> None:
    async def never() -> None:
        pytest.fail("called after a rollback")

    with suppress(LookupError):
        async with unit_of_work():
            after_commit(never)
            await db.execute(INSERT, "lost")
            raise LookupError
    assert await db.fetchval(COUNT) == 0


async def test_a_failing_callback_neither_raises_nor_stops_the_next(db: Database) -> None:
    seen: list[str] = []

    async def fail() -> None:
        raise OSError("Redis is away")

    async def note() -> None:
        seen.append("called")

    async with unit_of_work():
        after_commit(fail)
        after_commit(note)
        await db.execute(INSERT, "one")
    assert seen == ["called"]
    assert await db.fetchval(COUNT) == 1


def test_after_commit_outside_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="unit of work"):
        after_commit(asyncio.Event().wait)


async def test_a_task_inside_a_unit_of_work_may_not_share_its_connection(db: Database) -> None:
    async with unit_of_work():
        with pytest.raises(RuntimeError, match="started inside a unit of work"):
            await asyncio.create_task(db.execute(INSERT, "task"))
        await db.execute(INSERT, "own")
    assert await db.fetchval(COUNT) == 1


async def test_a_commit_that_fails_gives_its_connection_back(db: Database) -> None:
    """Deferred constraints fail at the commit; Piccolo's own transactions would leak the connection then."""
    await db.execute("CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    try:
        for _ in range(20):
            with pytest.raises(asyncpg.UniqueViolationError):
                async with unit_of_work():
                    await db.execute("INSERT INTO deferred VALUES (1), (1)")
        assert await db.fetchval("SELECT count(*) FROM deferred") == 0
    finally:
        await db.execute("DROP TABLE deferred")


async def test_only_a_connection_in_order_is_used_again(db: Database) -> None:
    async def backend() -> int:
        return int(await db.fetchval("SELECT pg_backend_pid()"))

    first = await backend()
    with pytest.raises(asyncpg.UndefinedTableError):
        await db.fetch("SELECT FROM nowhere")
    assert await backend() == first
    asking = asyncio.create_task(db.execute("SELECT pg_sleep(600)"))
    at = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND datname = current_database()"
    cut_off = await until(lambda: db.fetchval(at))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    second = await backend()
    assert second != cut_off
    # A process of the server that dies, as by `kill -9`, and then what follows from a driver that has lost its place.
    with pytest.raises(asyncpg.PostgresError):
        await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    third = await backend()
    assert third != second
    with pytest.raises(asyncpg.InternalClientError):
        async with db.transaction():
            raise asyncpg.InternalClientError("another operation is in progress")
    assert await backend() != third


async def test_a_connection_is_not_waited_for_for_ever(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_module, "WAIT_SECONDS", 0.05)
    size = db.pool.get_max_size()
    enough = asyncio.Event()

    async def hold() -> None:
        async with db.transaction():
            await enough.wait()

    holding = [asyncio.create_task(hold()) for _ in range(size)]
    await until(lambda: db.pool.get_size() == size and db.pool.get_idle_size() == 0)
    for _ in range(2 * size):
        with pytest.raises(DATABASE_AWAY):
            await db.fetchval("SELECT 1")
    enough.set()
    await asyncio.gather(*holding)
    # Those who gave up took no connection with them.
    assert await asyncio.gather(*(db.fetchval("SELECT 1") for _ in range(3 * size))) == [1] * 3 * size


async def test_closing_does_not_wait_for_ever(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_module, "CLOSE_SECONDS", 0.05)
    database = await Database.open(str(settings.database_url), 2)
    await database.pool.acquire()
    async with asyncio.timeout(5):
        await database.close()


async def test_too_old_a_server_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_module, "MINIMUM_MAJOR", 99)
    with pytest.raises(ConfigError, match=r"Postgres \d+.* is too old; agentplat needs 99"):
        await Database.open(str(settings.database_url), 2)


async def test_opening_without_an_address_says_what_to_set(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL is not set"):
        await db_module.open_database(msgspec.structs.replace(settings, database_url=None))


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


async def test_a_connection_that_was_told_its_end_while_it_was_idle_counts_as_a_database_that_is_away() -> None:
    """The server says that it is going down, and has not hung up yet when the next statement is sent."""

    async def postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)
        version = message(b"S", b"server_version\0" + b"16.0\0")
        ready = message(b"R", bytes(4)) + version + message(b"K", bytes(8)) + message(b"Z", b"I")
        writer.write(ready + message(b"E", b"SFATAL\0C57P02\0Mterminating connection\0\0"))
        await reader.read()

    async with serving(postgres) as port:
        connection = await asyncpg.connect(f"postgresql://u@127.0.0.1:{port}/d", ssl=False)
        with pytest.raises(DATABASE_AWAY) as away:
            await connection.execute("SELECT 1", timeout=30)
        assert away.type is asyncpg.InternalClientError
        connection.terminate()
