"""How often somebody may try: a count per address in Redis that expires by itself.

An attempt counts before anybody knows whether it is the right one, so a process lets only a few for one address go on
at once: else many who know the password would look like as many guesses.

Without Redis nothing is counted. What is left against guessing then is that each guess costs a slow hash, of which few
are computed at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from weakref import WeakValueDictionary

from redis.exceptions import RedisError

from agentplat.accounts.errors import SignInBusy, TooManyAttempts
from agentplat.infra.redis import redis
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

MOST = 10
WINDOW_SECONDS = 300
# Few enough that two processes do not reach MOST, and more than hashes are computed at once.
AT_ONCE = 4
MOST_WAITING = 64

_log = get_logger(__name__)


class _Gate:
    def __init__(self) -> None:
        self.places = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0


# Each for as long as somebody is at it.
_gates: WeakValueDictionary[str, _Gate] = WeakValueDictionary()


@asynccontextmanager
async def turn(address: str) -> AsyncIterator[None]:
    """Wait until few others try the same address. Who would have to wait long is sent away."""
    gate = _gates.setdefault(address.lower(), _Gate())
    if gate.waiting >= MOST_WAITING:
        raise SignInBusy
    gate.waiting += 1
    try:
        await gate.places.acquire()
    finally:
        gate.waiting -= 1
    try:
        yield
    finally:
        gate.places.release()


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
