import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.infra import redis as redis_module
from agentplat.infra.errors import ConfigError, Unavailable
from agentplat.infra.queue import queue
from agentplat.infra.redis import check_version, open_redis
from agentplat.infra.settings import Settings


class Server:
    """Answers INFO as a server of some version would."""

    def __init__(self, **info: str) -> None:
        self._info = info

    async def info(self, _section: str) -> dict[str, str]:
        return self._info


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "7.0.15"}, "Redis 7.0.15"),
        ({"redis_version": "8.2.1"}, "Redis 8.2.1"),
        # What Valkey claims to be, for old clients.
        ({"redis_version": "7.2.4", "valkey_version": "9.1.0"}, "Valkey 9.1.0"),
    ],
)
async def test_supported_servers(info: dict[str, str], expected: str) -> None:
    assert await check_version(Server(**info)) == expected  # type: ignore[arg-type]


async def test_too_old_a_server_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Redis 6\.2\.14 is too old"):
        await check_version(Server(redis_version="6.2.14"))  # type: ignore[arg-type]


async def test_replies_are_bytes_over_resp2(redis: Redis) -> None:
    await redis.hset("key", mapping={"field": "value"})
    assert await redis.hgetall("key") == {b"field": b"value"}
    assert redis.connection_pool.connection_kwargs["protocol"] == 2


async def test_unreachable_server_is_named(settings: Settings) -> None:
    with pytest.raises(Unavailable, match="Redis can't be reached"):
        _ = await open_redis(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1/0"))
    assert redis_module._client is None


async def test_a_queue_is_made_once_and_keeps_its_keys_in_one_slot(redis: Redis) -> None:
    runs = queue("runs")
    assert queue("runs") is runs
    assert runs.name == "{agentplat}:runs"
    await runs.enqueue("test", key="one")
    keys = await redis.keys()
    assert keys
    assert all("{agentplat}" in str(key) for key in keys)
