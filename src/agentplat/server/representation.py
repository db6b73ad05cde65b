"""The form in which an answer goes out: compressed or not, or only the word that the client has it already.

A handler says by its `opt` what its answer is good for: `ETAG`, to be compared by its content; `STATIC`, the same bytes
object until something changes, so that it is compressed and named once.
"""

import asyncio
import gzip
from hashlib import sha256
from typing import Any, NamedTuple

from litestar.types import HTTPScope

ETAG = "etag"
STATIC = "static"

COMPRESSED_FROM_BYTES = 50_000
# Higher levels gain a few percent for several times the time; what is compressed once gets the best.
COMPRESSION_LEVEL = 4
BEST_LEVEL = 9

_GZIPPED = b"-gzip"
_NOTHING = (b"content-length", b"content-type")


class _Kept(NamedTuple):
    body: bytes
    tag: bytes
    gzipped: bytes | None


class Representations:
    """Of one application. What is kept is one answer per route at most."""

    def __init__(self) -> None:
        self._kept: dict[Any, _Kept] = {}

    async def choose(
        self, scope: HTTPScope, asked: dict[bytes, bytes], start: Any, own: dict[bytes, bytes], body: bytes
    ) -> bytes:
        """The body that goes out, with status and headers of `start` to match."""
        # Not there when the path was unknown.
        handler: Any = scope.get("route_handler")
        opt = handler.opt if handler else {}
        large = len(body) >= COMPRESSED_FROM_BYTES and b"content-encoding" not in own and is_text(own)
        static = opt.get(STATIC)
        named = start["status"] == 200 and scope["method"] == "GET" and (static or opt.get(ETAG)) and b"etag" not in own
        if not (large or named):
            return body
        zips = large and accepts_gzip(asked.get(b"accept-encoding", b""))
        kept = await self._keep(handler, body, large) if static and named else None
        headers = start["headers"] = list(start["headers"])
        if large:
            headers.append((b"vary", b"Accept-Encoding"))
        if named:
            tag = kept.tag if kept else name(body)
            headers.append((b"etag", b'"%b%b"' % (tag, _GZIPPED if zips else b"")))
            if (condition := asked.get(b"if-none-match")) is not None and matches(condition, tag):
                start["status"] = 304
                start["headers"] = [header for header in headers if header[0] not in _NOTHING]
                return b""
        if zips:
            if kept is not None and kept.gzipped is not None:
                body = kept.gzipped
            else:
                body = await _zipped(body, COMPRESSION_LEVEL)
            headers = [header for header in headers if header[0] != b"content-length"]
            headers += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
            start["headers"] = headers
        return body

    async def _keep(self, handler: Any, body: bytes, large: bool) -> _Kept:
        kept = self._kept.get(handler)
        if kept is None or kept.body is not body:
            zipped = await _zipped(body, BEST_LEVEL) if large else None
            kept = self._kept[handler] = _Kept(body, name(body), zipped)
        return kept


async def _zipped(body: bytes, level: int) -> bytes:
    """In a thread: it takes milliseconds, in which others would wait."""
    return await asyncio.to_thread(gzip.compress, body, level, mtime=0)


def name(body: bytes) -> bytes:
    """As good as unique to this content, so that a tag is a strong one."""
    return sha256(body).hexdigest()[:32].encode()


def matches(condition: bytes, tag: bytes) -> bool:
    """Whether `If-None-Match` names this content, in whatever encoding."""
    tags = (one.strip().removeprefix(b"W/").strip(b'"').removesuffix(_GZIPPED) for one in condition.split(b","))
    return any(one in (tag, b"*") for one in tags)


def accepts_gzip(header: bytes) -> bool:
    for one in header.lower().split(b","):
        coding, _, weight = one.partition(b";")
        if coding.strip() in (b"gzip", b"*"):
            return weight.replace(b" ", b"").removeprefix(b"q=").rstrip(b"0") not in (b"", b".") or not weight
    return False


def is_text(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-type", b"").startswith((b"application/json", b"text/"))
