"""Postgres: one pool per process, shared by our own SQL and by Piccolo's tables.

Rules of this file:
- `DB` is Piccolo's engine. Its current transaction (a context variable) is the only notion of "inside a transaction",
  so Piccolo queries and `db()` calls within one unit of work always see the same connection.
- A task started inside a transaction inherits that variable and would share its connection. `Database` refuses this.
- jsonb arrives as text: a codec would break Piccolo's `load_json`.
- Nothing outlives its transaction on a connection: no `SET` without `LOCAL`, no session locks, no `LISTEN`. So a
  connection goes back into the pool as it is.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from agentplat.infra.errors import AppError, ConfigError, Unavailable
from agentplat.infra.serving import using_database
from agentplat.infra.settings import Settings

MINIMUM_MAJOR = 15
# A connection that a cancelled task left behind must not hold up the end of a process for ever.
CLOSE_SECONDS = 5.0
# A server that hangs holds all connections until their statements are given up. Who comes meanwhile learns soon enough
# that nobody will answer; a load that is merely high waits for a connection far less long.
WAIT_SECONDS = 20.0
STATEMENT_SECONDS = 60.0
# What a statement raises while the database is away or restarting. Trying again later is all there is to do. Asyncpg
# calls it its own mistake where a connection was lost at a moment at which it did not expect that.
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


class _Engine(PostgresEngine):
    """Piccolo's engine without its habit of connecting, synchronously, when it is made."""

    async def check_version(self) -> None:
        pass


class _Transaction(PostgresTransaction):
    __slots__ = ("owner",)

    def __init__(self, connection: Any) -> None:
        super().__init__(DB)
        self.connection = connection
        self.owner = asyncio.current_task()


DB = _Engine(config={})


class Database:
    """The open pool. Inside `transaction()` every method uses its connection, otherwise one from the pool each."""

    def __init__(self, pool: Any, version: str) -> None:
        self.pool = pool
        self.version = version

    @classmethod
    async def open(cls, url: str, size: int) -> "Database":
        configure(url)
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                command_timeout=STATEMENT_SECONDS,
                server_settings={"application_name": "agentplat"},
                reset=_keep,
            )
        except asyncpg.InvalidCatalogNameError as error:
            raise ConfigError(f"DATABASE_URL: {error}", hint="Create it first, for example with createdb.") from error
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
            raise ConfigError(f"DATABASE_URL: Postgres refuses this account: {error}") from error
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
            raise Unavailable(f"Postgres can't be reached: {error or type(error).__name__}") from error
        try:
            version, number = await pool.fetchrow(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int"
            )
            if number < MINIMUM_MAJOR * 10_000:
                raise ConfigError(f"Postgres {version} is too old; agentplat needs {MINIMUM_MAJOR} or newer")
        except BaseException:
            pool.terminate()
            raise
        DB.pool = pool
        return cls(pool, version)

    async def close(self) -> None:
        DB.pool = None
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self._connection() as connection:
            return list(await connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> Any:
        async with self._connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        async with self._connection() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        async with self._connection() as connection:
            return str(await connection.execute(sql, *args))

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        async with self._connection() as connection:
            await connection.executemany(sql, rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Yields the asyncpg connection. Inside another transaction it is the same one: the outermost commits.

        An inner block that fails leaves the whole transaction failed, also when its exception is caught.
        """
        if (connection := self._joined()) is not None:
            yield connection
            return
        # Not Piccolo's own context manager: it keeps the connection for ever when the commit itself fails.
        async with self._acquired() as connection, connection.transaction():
            token = DB.current_transaction.set(_Transaction(connection))
            try:
                yield connection
            finally:
                DB.current_transaction.reset(token)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if (connection := self._joined()) is not None:
            yield connection
            return
        async with self._acquired() as connection:
            yield connection

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        with using_database():
            # Not the pool's own time limit, which makes a task each time.
            async with asyncio.timeout(WAIT_SECONDS):
                connection = await self.pool.acquire()
            pid = connection.get_server_pid()  # one that was lost meanwhile has none
            try:
                yield connection
            except BaseException as error:
                if not _is_answer(error):
                    _doubtful.add(pid)
                raise
            finally:
                await self.pool.release(connection)

    @property
    def in_transaction(self) -> bool:
        """Whether this code is in one, whose statements see what it has not committed yet."""
        return self._joined() is not None

    def _joined(self) -> Any:
        """The connection of the transaction that this code is in, if any."""
        transaction = DB.current_transaction.get()
        if transaction is None:
            return None
        if isinstance(transaction, _Transaction) and transaction.owner is not asyncio.current_task():
            raise RuntimeError("A task started inside a unit of work must not use its connection")
        return transaction.connection


async def _keep(connection: Any) -> None:
    """In place of the pool's own way to reset a connection, a second round trip after each statement. A transaction
    that is still open is rolled back all the same. A connection whose statement was cut off or got no answer is not
    used again: its two ends may disagree on where they are, and then everybody who gets it next fails or hangs."""
    if (pid := connection.get_server_pid()) in _doubtful:
        _doubtful.discard(pid)
        connection.terminate()


def _is_answer(error: BaseException) -> bool:
    """Whether the connection is in order all the same: the server has refused a statement, or we a request."""
    lost = asyncpg.PostgresConnectionError | asyncpg.OperatorInterventionError
    return isinstance(error, AppError) or (isinstance(error, asyncpg.PostgresError) and not isinstance(error, lost))


# The server's processes behind connections that are not to be used again.
_doubtful: set[int] = set()
_database: Database | None = None


def db() -> Database:
    if _database is None:
        raise RuntimeError("The database is not open: call open_database() first")
    return _database


def configure(url: str | None) -> None:
    """Tell Piccolo where the database is, for its commands as well as for its tables."""
    DB.config = {"dsn": url} if url else {}


async def open_database(settings: Settings) -> Database:
    global _database
    if _database is not None:
        raise RuntimeError("The database is open already")
    if settings.database_url is None:
        raise ConfigError("DATABASE_URL is not set", hint="`agentplat up` starts a Postgres of its own when it is not.")
    # Table classes look their engine up by the name of a module; the one at the repository's root is not installed.
    os.environ["PICCOLO_CONF"] = __name__
    _database = await Database.open(settings.database_url, settings.db_pool_size)
    return _database


async def close_database() -> None:
    global _database
    if _database is not None:
        database, _database = _database, None
        await database.close()
