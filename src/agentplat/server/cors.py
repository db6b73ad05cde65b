"""Pages of other origins may call the API from a browser: the configured ones, with credentials."""

from collections.abc import Iterable

from litestar.types import HTTPScope, Send

from agentplat.infra.origins import REGEX, compiled

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# What scripts of those pages may read of an answer besides its body.
EXPOSED = (
    b"X-Request-Id, Server-Timing, ETag, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset,"
    b" Idempotency-Replayed, Preference-Applied, X-Supabase-Api-Version"
)

Headers = list[tuple[bytes, bytes]]


class Cors:
    """`origins`: as the settings have them."""

    def __init__(self, origins: Iterable[str]) -> None:
        entries = list(origins)
        self.exact = {entry for entry in entries if not entry.startswith(REGEX)}
        self.patterns = [compiled(entry) for entry in entries if entry.startswith(REGEX)]

    def allows(self, origin: str) -> bool:
        return origin in self.exact or any(pattern.fullmatch(origin) for pattern in self.patterns)

    def headers(self, origin: bytes) -> Headers:
        """For any response to that origin. Never `*`: with credentials browsers refuse it."""
        headers = [(b"vary", b"Origin")]
        if self.allows(origin.decode("latin-1")):
            headers += [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", EXPOSED),
            ]
        return headers

    async def answer(self, scope: HTTPScope, origin: bytes, send: Send) -> None:
        """A browser asking beforehand. It carries no token, so no handler sees it."""
        allowed = self.allows(origin.decode("latin-1"))
        headers: Headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if allowed:
            headers += [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", b"600")]
            headers += [
                (b"access-control-allow-headers", value)
                for name, value in scope["headers"]
                if name == b"access-control-request-headers"
            ]
        body = b"OK" if allowed else b"This origin is not allowed"
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200 if allowed else 400, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
