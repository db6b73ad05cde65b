"""How many requests somebody may make: a bucket of tokens in Redis per user, per API key, and per address of strangers.

A process takes tokens in advance, a hundredth of what a bucket holds, so most requests cost nothing but a subtraction.
What it has taken it keeps, so somebody may exceed a limit by a hundredth per process. Without Redis nobody is refused;
`agentplat_rate_limit_unchecked_requests_total` tells how many requests that were.
"""

import asyncio
import math
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agentplat.infra.errors import TooMany
from agentplat.infra.lru import LRU
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger

WINDOW_SECONDS = 60
# Redis is on the same network; one that needs longer is as good as none.
ANSWER_SECONDS = 0.5
# After which it is tried again.
BLIND_SECONDS = 1.0
MOST_BUCKETS = 50_000
MOST_IN_ADVANCE = 500

USER, KEY, ADDRESS = "user", "key", "address"

_SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")

_log = get_logger(__name__)
_refused = Counter("agentplat_rate_limit_refused_requests", "Requests that were too many.", ["limit"])
_unchecked = Counter("agentplat_rate_limit_unchecked_requests", "Requests let in because Redis was away.")
_refused_by = {kind: _refused.labels(kind).inc for kind in (USER, KEY, ADDRESS)}


class Bucket:
    """What this process knows of one bucket."""

    __slots__ = ("empty_until", "key", "kind", "left", "limit", "rest", "seen", "taking")

    def __init__(self, kind: str, key: str, limit: int) -> None:
        self.kind = kind
        self.key = key
        self.limit = limit
        # Tokens that this process has, and that Redis had left when it was asked last.
        self.left = 0
        self.rest = limit
        self.seen = self.empty_until = 0.0
        self.taking: asyncio.Task[None] | None = None

    @property
    def remaining(self) -> int:
        gained = (monotonic() - self.seen) * self.limit / WINDOW_SECONDS
        return self.left + int(min(self.limit - self.left, self.rest + gained))

    def headers(self) -> list[tuple[bytes, bytes]]:
        remaining = self.remaining
        full = math.ceil((self.limit - remaining) * WINDOW_SECONDS / self.limit)
        return [
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % remaining),
            (b"ratelimit-reset", b"%d" % full),
        ]


class Limits:
    """Of one process. Counts nothing before it is given a `client`."""

    def __init__(self, settings: Settings) -> None:
        self.client: Redis | None = None
        self.answer_seconds = ANSWER_SECONDS
        self._prefix = f"{settings.redis_prefix}:limits"
        self._most = {
            USER: settings.rate_limit,
            KEY: settings.rate_limit_per_key,
            ADDRESS: settings.rate_limit_sign_in,
        }
        self._buckets: LRU[tuple[str, str], Bucket] = LRU(MOST_BUCKETS)
        self._blind_until = 0.0

    async def take(self, scope: Any, kind: str, who: str) -> None:
        """Count one request, or raise TooMany. Puts the bucket into the scope for the headers of the answer."""
        most = self._most[kind]
        if self.client is None or not most:
            return
        bucket = self._buckets.get((kind, who))
        if bucket is None:
            bucket = Bucket(kind, f"{self._prefix}:{kind}:{_name(who)}", most)
            self._buckets.put((kind, who), bucket)
        while not bucket.left:
            moment = monotonic()
            if moment < self._blind_until:
                _unchecked.inc()
                return
            if moment < bucket.empty_until:
                scope["rate_limit"] = bucket
                _refused_by[kind]()
                raise _too_many(bucket, bucket.empty_until - moment)
            # One request asks for all that wait, and goes on asking if its client leaves.
            taking = bucket.taking or asyncio.create_task(self._refill(bucket, self.client))
            bucket.taking = taking
            await asyncio.shield(taking)
        bucket.left -= 1
        other: Bucket | None = scope.get("rate_limit")
        if other is None or bucket.remaining < other.remaining:
            scope["rate_limit"] = bucket

    async def _refill(self, bucket: Bucket, client: Redis) -> None:
        wanted = max(1, min(MOST_IN_ADVANCE, bucket.limit // 100))
        try:
            async with asyncio.timeout(self.answer_seconds):
                script = client.register_script(_SCRIPT)
                rate = bucket.limit / WINDOW_SECONDS
                given, rest, wait = await script([bucket.key], [bucket.limit, rate, wanted])
        except (RedisError, OSError) as error:
            self._blind_until = monotonic() + BLIND_SECONDS
            _log.warning("requests_not_limited", error=str(error) or type(error).__name__)
        else:
            bucket.left, bucket.rest, bucket.seen = given, rest, monotonic()
            bucket.empty_until = bucket.seen + wait / 1000
        finally:
            bucket.taking = None


def _name(who: str) -> str:
    # An API key, or whom somebody seems to be, is nobody's business who looks into Redis.
    return sha256(who.encode()).hexdigest()[:32]


def _too_many(bucket: Bucket, seconds: float) -> TooMany:
    whole = max(1, math.ceil(seconds))
    return TooMany(
        f"At most {bucket.limit:,} requests a minute are taken from one {bucket.kind}",
        hint=f"Try again in {whole} s. The RateLimit headers of each answer say what is left.",
        headers={"Retry-After": str(whole)},
    )
