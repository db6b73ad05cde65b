"""What every response carries, whoever made it, also a 404 or a refused token: an id, and headers for browsers.

It wraps the whole application, because Litestar runs its own middleware only for requests that have found a route.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from litestar.types import HTTPResponseStartEvent, HTTPScope, Message, Receive, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from agentplat.server.cors import Cors

_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Headers = list[tuple[bytes, bytes]]

SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"x-xss-protection", b"1; mode=block"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
]
NOT_STORED: Headers = [
    (b"cache-control", b"no-store, no-cache, must-revalidate, private"),
    (b"pragma", b"no-cache"),
    (b"expires", b"0"),
]
NOT_INDEXED: Headers = [(b"x-robots-tag", b"noindex, nofollow")]

# What caches may keep, when it is read. The list is the contract's.
CACHEABLE = (
    *("/static", "/_next/static", "/assets", "/images", "/css", "/js", "/fonts"),
    *("/api/health", "/api/v1/health", "/api/status", "/api/blocks", "/api/v1/blocks"),
    *("/api/store/agents", "/api/v1/store/agents", "/api/store/categories", "/api/v1/store/categories"),
    *("/api/store/featured", "/api/v1/store/featured", "/api/graphs/templates", "/api/v1/graphs/templates"),
    *("/api/docs", "/api/v1/docs", "/docs", "/swagger", "/openapi.json"),
    *("/favicon.ico", "/manifest.json", "/robots.txt", "/sitemap.xml"),
)
SHARED = "/public/shared"


class Edge:
    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], cors: Cors) -> None:
        self.app = app
        self.cors = cors

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        origin = requested = request_id = None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"x-request-id":
                requested = value
        request_id = requested if requested and _ACCEPTED_ID.fullmatch(requested) else uuid4().hex.encode()
        path, method = scope["path"], scope["method"]
        headers = [*SECURITY, (b"x-request-id", request_id)]
        if SHARED in path:
            headers += NOT_INDEXED
        if origin is not None:
            headers += self.cors.headers(origin)
        stored = method in ("GET", "HEAD") and path.startswith(CACHEABLE)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _added(message, headers, stored)
            await send(message)

        if origin is not None and method == "OPTIONS":
            await self.cors.answer(scope, origin, send_with_headers)
            return
        scope["request_id"] = request_id.decode()  # type: ignore[typeddict-unknown-key]
        tokens = bind_contextvars(request_id=scope["request_id"])  # type: ignore[typeddict-item]
        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            reset_contextvars(**tokens)


def _added(message: HTTPResponseStartEvent, headers: Headers, stored: bool) -> Headers:
    own = list(message.get("headers", ()))
    decided = stored or any(name.lower() == b"cache-control" for name, _ in own)
    return own + headers if decided else own + headers + NOT_STORED
