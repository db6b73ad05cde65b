"""How often somebody may try: a count per address in Redis that expires by itself.

Without Redis nothing is counted. What is left against guessing then is that each guess costs a slow hash, of which few
are computed at once.
"""

from hashlib import sha256

from redis.exceptions import RedisError

from agentplat.accounts.errors import TooManyAttempts
from agentplat.infra.redis import redis
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

MOST = 10
WINDOW_SECONDS = 300

_log = get_logger(__name__)


async def count(kind: str, address: str) -> None:
    """Count one attempt, before anything is looked at: of many at once none goes uncounted."""
    key = _key(kind, address)
    try:
        pipe = redis().pipeline(transaction=True)
        # Queued, not sent: a pipeline's calls return the pipeline itself.
        pipe.incr(key)  # type: ignore[unused-awaitable]
        pipe.expire(key, WINDOW_SECONDS, nx=True)  # type: ignore[unused-awaitable]
        pipe.ttl(key)  # type: ignore[unused-awaitable]
        number, _, seconds = await pipe.execute()
    except (RedisError, OSError) as error:
        _log.warning("attempts_not_counted", error=str(error))
        return
    if number > MOST:
        raise TooManyAttempts(max(1, seconds))


async def forget(kind: str, address: str) -> None:
    """It was the right one."""
    try:
        await redis().delete(_key(kind, address))
    except (RedisError, OSError) as error:
        _log.warning("attempts_not_counted", error=str(error))


def _key(kind: str, address: str) -> str:
    # Whom somebody tries to be is nobody's business who looks into Redis.
    return f"{get_settings().redis_prefix}:attempts:{kind}:{sha256(address.lower().encode()).hexdigest()[:32]}"
