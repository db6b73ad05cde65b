"""Which pages may call from a browser: what `BACKEND_CORS_ALLOW_ORIGINS` may say.

An entry is an origin or `regex:` with a pattern for a whole one. The machine itself has two names, so an origin on it
counts under both. In production it is nobody's page, so entries that let it in are refused there.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

REGEX = "regex:"
LOCAL = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}
DEFAULT = ("http://localhost:3000", "http://127.0.0.1:3000")
_SAMPLES = [f"{scheme}://{name}:{port}" for scheme in ("http", "https") for name in LOCAL for port in (3000, 8000)]


def origins(entries: Iterable[str]) -> tuple[str, ...]:
    """The entries with the other names of those on this machine. Raises ValueError for what is no entry."""
    found: dict[str, None] = {}
    for entry in entries:
        if entry.startswith(REGEX):
            compiled(entry)
            found[entry] = None
        else:
            found |= dict.fromkeys(_names(entry.rstrip("/")))
    return tuple(found)


def compiled(entry: str) -> re.Pattern[str]:
    text = entry.removeprefix(REGEX).strip()
    if not text:
        raise ValueError("a pattern is empty")
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"a pattern is no regular expression: {error}") from None


def _names(origin: str) -> list[str]:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError(f"expected origins such as https://app.example.com, or {REGEX} with a pattern")
    if (other := LOCAL.get(parts.hostname)) is None:
        return [origin]
    if parts.port is None:
        raise ValueError(f"an origin on {parts.hostname} needs its port")
    return [origin, f"{parts.scheme}://{other}:{parts.port}"]


def check_public(entries: Iterable[str]) -> None:
    """Raises ValueError for an entry that lets pages on this machine in."""
    for entry in entries:
        named = any(name in entry.lower().replace("\\", "") for name in LOCAL)
        if named or (entry.startswith(REGEX) and any(map(compiled(entry).search, _SAMPLES))):
            raise ValueError("pages on this machine are not let in with APP_ENV=prod")
