"""Redis or Valkey: jobs and events pass through it, and it may be lost at any moment."""

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from agentplat.infra.errors import ConfigError, Unavailable
from agentplat.infra.settings import Settings

# 7.0 is what the platform is tested from; every Valkey is newer than that.
MINIMUM_REDIS = (7, 0)
CONNECT_SECONDS = 5.0

_client: Redis | None = None


def redis() -> Redis:
    if _client is None:
        raise RuntimeError("Redis is not open: call open_redis() first")
    return _client


async def open_redis(settings: Settings) -> Redis:
    global _client
    if _client is not None:
        raise RuntimeError("Redis is open already")
    if settings.redis_url is None:
        raise ConfigError("REDIS_URL is not set", hint="`agentplat up` starts a Valkey of its own when it is not.")
    client = connect(settings.redis_url)
    try:
        await check_version(client)
    except BaseException:
        await client.aclose()
        raise
    _client = client
    return client


async def close_redis() -> None:
    global _client
    if _client is not None:
        client, _client = _client, None
        await client.aclose()


def connect(url: str) -> Redis:
    # RESP2: replies have one shape in every server version and in SAQ, and nothing here needs push messages.
    # No read time-out: blocking reads of streams and queues wait as long as they ask for; keepalive and the health
    # check find dead peers.
    client: Redis = Redis.from_url(
        url,
        protocol=2,
        decode_responses=False,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=None,
        health_check_interval=30,
        max_connections=10_000,
        **({} if url.startswith("unix://") else {"socket_keepalive": True}),
    )
    return client


async def check_version(client: Redis) -> str:
    """The server's name and version; raises when it is older than what the platform is tested with."""
    try:
        info = await client.info("server")
    except AuthenticationError as error:
        raise ConfigError(f"REDIS_URL: the server refuses this account: {error}") from error
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis can't be reached: {error}") from error
    if valkey := info.get("valkey_version"):
        return f"Valkey {valkey}"
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_REDIS:
        raise ConfigError(f"Redis {version} is too old; agentplat needs Redis 7.0 or newer, or any Valkey")
    return f"Redis {version}"
