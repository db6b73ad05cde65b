"""What every request and every response passes, whoever answers, also a 404 or a refused token.

One wrapper around the whole application rather than a stack of them: each would cost every request as much as all of
this does. Litestar runs its own middleware only for requests that have found a route.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

from litestar.types import HTTPScope, Message, Receive, Send

from agentplat.infra.errors import TooSlow
from agentplat.infra.serving import Served, serving
from agentplat.server.cors import Cors, Headers
from agentplat.server.limits import Bucket
from agentplat.server.metrics import Counts
from agentplat.server.proxies import Proxies
from agentplat.server.representation import Representations

_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# A body may take longer than its time by a second for each of so many bytes that have come.
LEAST_BYTES_PER_SECOND = 10_000
# Many clients read nothing before they have sent everything, and lose the answer if we hang up on them. So what still
# comes of a body after the answer is taken and dropped, for so many seconds.
LINGER_SECONDS = 30.0

SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"x-xss-protection", b"1; mode=block"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
]
# Who came by HTTPS once is to come by it always. Over HTTP nobody may be told so, says RFC 6797 (7.2).
ONLY_HTTPS: Headers = [(b"strict-transport-security", b"max-age=31536000")]
# For answers that are no pages: whoever gets a browser to show one gets nothing to run.
NO_PAGE: Headers = [(b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")]
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

App = Callable[[Any, Any, Any], Awaitable[None]]


class Edge:
    """`request_seconds`: in which a body has to arrive. `counts` where requests are counted."""

    def __init__(
        self, app: App, cors: Cors, proxies: Proxies, request_seconds: float, counts: Counts | None = None
    ) -> None:
        self.app = app
        self.cors = cors
        self.proxies = proxies
        self.request_seconds = request_seconds
        self.counts = counts
        self.representations = Representations()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        requested = headers.get(b"x-request-id")
        served = Served(requested.decode() if requested and _ACCEPTED_ID.fullmatch(requested) else os.urandom(16).hex())
        answer = _Answer(self, scope, headers, served, send)
        scope["request_id"] = served.id  # type: ignore[typeddict-unknown-key]
        token = serving.set(served)
        arrival: _Arrival | None = None
        try:
            if scope["method"] == "OPTIONS" and (origin := headers.get(b"origin")) is not None:
                await self.cors.answer(scope, origin, answer.send)
            else:
                if b"content-length" in headers or b"transfer-encoding" in headers or scope["http_version"] == "2":
                    arrival = _Arrival(receive, self.request_seconds)
                    receive = arrival.receive
                await self.app(scope, receive, answer.send)
        finally:
            serving.reset(token)
            if self.counts is not None:
                self.counts.count(scope, answer.status, perf_counter() - answer.began)
        if arrival is not None and not arrival.whole:
            await arrival.drop()


class _Answer:
    """One response on its way out. One that is whole waits for its body, which decides on some of its headers."""

    __slots__ = ("began", "edge", "headers", "scope", "sending", "served", "start", "status")

    def __init__(
        self, edge: Edge, scope: HTTPScope, headers: dict[bytes, bytes], served: Served, sending: Send
    ) -> None:
        self.began = perf_counter()
        self.edge = edge
        self.scope = scope
        self.headers = headers
        self.served = served
        self.sending = sending
        self.status = 500
        self.start: Any = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = dict(message["headers"])
            if b"content-length" in own:
                self.start = message, own
                return
            message["headers"] = self._complete(message, own)
        elif self.start is not None and message["type"] == "http.response.body":
            (start, own), self.start = self.start, None
            if not message.get("more_body"):
                body = await self.edge.representations.choose(
                    self.scope, self.headers, start, own, message.get("body", b"")
                )
                self.status, message["body"] = start["status"], body
            start["headers"] = self._complete(start, own)
            await self.sending(start)
        await self.sending(message)

    def _complete(self, start: Any, own: dict[bytes, bytes]) -> Headers:
        scope = self.scope
        path = scope["path"]
        headers = [*start["headers"], *SECURITY, (b"x-request-id", self.served.id.encode())]
        headers.append((b"server-timing", self._timing()))
        if b"content-security-policy" not in own:
            headers += NO_PAGE
        if not (b"cache-control" in own or (scope["method"] in ("GET", "HEAD") and path.startswith(CACHEABLE))):
            headers += NOT_STORED
        if SHARED in path:
            headers += NOT_INDEXED
        if self.edge.proxies.over_https(scope, self.headers):
            headers += ONLY_HTTPS
        if (origin := self.headers.get(b"origin")) is not None:
            headers += self.edge.cors.headers(origin)
        bucket: Bucket | None = scope.get("rate_limit")  # type: ignore[assignment]
        if bucket is not None:
            headers += bucket.headers()
        return headers

    def _timing(self) -> bytes:
        """Milliseconds until the answer began, and how many of them, in how many turns, belong to the database."""
        served = self.served
        timing = b"total;dur=%.2f" % ((perf_counter() - self.began) * 1000)
        if served.database_uses:
            timing += b', db;dur=%.2f;desc="%d"' % (served.database_seconds * 1000, served.database_uses)
        return timing


class _Arrival:
    """One body on its way in, from a client that may be slow, but not for ever."""

    __slots__ = ("deadline", "receiving", "whole")

    def __init__(self, receiving: Receive, seconds: float) -> None:
        self.receiving = receiving
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.whole = False

    async def receive(self) -> Any:
        if self.whole:
            return await self.receiving()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.receiving()
        except TimeoutError:
            raise TooSlow(headers={"Connection": "close"}) from None
        if message["type"] == "http.request":
            self.whole = not message.get("more_body")
            self.deadline += len(message.get("body", b"")) / LEAST_BYTES_PER_SECOND
        else:
            self.whole = True
        return message

    async def drop(self) -> None:
        with suppress(TimeoutError, TooSlow):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self.whole:
                    await self.receive()
