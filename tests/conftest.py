"""Fixtures of all tests: real servers, a database per process, and on demand the whole platform."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis.asyncio import Redis

from agentplat.blocks import service as blocks
from agentplat.cli.supervisor import Platform
from agentplat.infra import settings as settings_module
from agentplat.infra.db import Database, close_database, open_database
from agentplat.infra.redis import close_redis, open_redis
from agentplat.infra.settings import Settings, get_settings
from agentplat.runs.service import hearing_ends
from tests.support.gates import Gate
from tests.support.mails import POSTMARK_TOKEN, UNSUBSCRIBE_KEY
from tests.support.processes import environment, free_port
from tests.support.services import (
    BLOCK_MODULES,
    JWT_KEY,
    Servers,
    ServersOwner,
    clear_environment,
    create_database,
    drop_database,
    redis_database,
)

# Databases of Redis: one per worker process for tests, one per worker process for its platform; 0 is nobody's.
REDIS_DATABASES = 30

# How long an example takes says how busy the machine is, and nothing about what is tested.
hypothesis_settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any-machine")

_owner = pytest.StashKey[ServersOwner]()
_servers = pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    clear_environment()
    # For code that reads its settings while being imported; tests that need servers get them from `settings`.
    os.environ["JWT_VERIFY_KEY"] = JWT_KEY
    if worker := getattr(config, "workerinput", None):
        config.stash[_servers] = msgspec.json.decode(worker["servers"], type=Servers)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In xdist's controller, before each of its workers starts."""
    node.workerinput["servers"] = msgspec.json.encode(_start_servers(node.config)).decode()


def pytest_unconfigure(config: pytest.Config) -> None:
    if owner := config.stash.get(_owner, None):
        owner.stop()


def _start_servers(config: pytest.Config) -> Servers:
    if _servers not in config.stash:
        config.stash[_owner] = ServersOwner()
        config.stash[_servers] = config.stash[_owner].start()
    return config.stash[_servers]


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Servers:
    return _start_servers(pytestconfig)


@pytest.fixture(scope="session")
def worker_number() -> int:
    """0, 1, 2 … for xdist's gw0, gw1, gw2 …; 0 without xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def database_url(services: Servers, worker_number: int) -> Iterator[str]:
    name = f"agentplat_test_{worker_number}"
    yield asyncio.run(create_database(services.database_url, name))
    asyncio.run(drop_database(services.database_url, name))


@pytest.fixture(scope="session")
def redis_url(services: Servers, worker_number: int) -> str:
    return redis_database(services.redis_url, 1 + worker_number % REDIS_DATABASES)


@pytest.fixture(scope="session")
def settings(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of this process: `get_settings()` returns the same."""
    values = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AGENTPLAT_HOME": str(tmp_path_factory.mktemp("home")),
        "AGENTPLAT_BLOCK_MODULES": BLOCK_MODULES,
        "AGENTPLAT_LEASE": "2",
        "UNSUBSCRIBE_SECRET_KEY": UNSUBSCRIBE_KEY,
        "POSTMARK_WEBHOOK_TOKEN": POSTMARK_TOKEN,
        "LOG_LEVEL": "WARNING",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        _forget_settings()
        yield get_settings()
    _forget_settings()


def _forget_settings() -> None:
    settings_module.get_settings.cache_clear()
    # A test that needed no settings may have loaded the blocks without those of the tests.
    for loaded in (blocks.registry, blocks.specs, blocks.catalogue):
        loaded.cache_clear()


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    """The open database of this process, with every table empty afterwards."""
    database = await open_database(settings)
    try:
        yield database
    finally:
        tables = await database.fetch(
            "SELECT quote_ident(relname) AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace AND relname <> 'migration'"
        )
        await database.execute(f"TRUNCATE {', '.join(row['name'] for row in tables)} CASCADE")
        await close_database()


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """The open Redis of this process, whose ends of runs are heard of as in a server; empty before and afterwards."""
    client = await open_redis(settings)
    await client.flushdb()  # a process of an earlier test may have rung once more as it ended
    try:
        async with hearing_ends():
            yield client
    finally:
        await client.flushdb()
        await close_redis()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture(scope="session")
def make_token() -> Callable[..., str]:
    """`make_token(user_id, role="authenticated", **claims)`: a token that this test run's platform accepts."""

    def make(user_id: str, role: str = "authenticated", **claims: Any) -> str:
        body = {
            "sub": user_id,
            "role": role,
            "aud": "authenticated",
            "email": f"{user_id}@example.com",
            "exp": int(time.time()) + 3600,
        }
        return jwt.encode({**body, **claims}, JWT_KEY, algorithm="HS256")

    return make


@pytest.fixture(scope="session")
def platform(
    services: Servers, settings: Settings, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """The whole platform as its users run it: server, worker and fake model, as processes, on a database of its own."""
    name = f"agentplat_test_platform_{worker_number}"
    own = msgspec.structs.replace(
        settings,
        database_url=asyncio.run(create_database(services.database_url, name)),
        redis_url=redis_database(services.redis_url, 1 + REDIS_DATABASES + worker_number % REDIS_DATABASES),
        home=tmp_path_factory.mktemp("platform"),
        port=free_port(),
    )
    try:
        with Platform(own, fake_llm=True, quiet=True, env=environment(ENABLE_METRICS="true")) as running:
            yield running
    finally:
        asyncio.run(drop_database(services.database_url, name))


@pytest.fixture(scope="session")
def base_url(platform: Platform) -> str:
    return platform.url


@pytest.fixture(scope="session")
def ws_url(platform: Platform) -> str:
    return platform.ws_url
