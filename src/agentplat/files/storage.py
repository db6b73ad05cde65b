"""Where the content of uploaded files is: a folder, or a bucket of S3, Google or Azure. Names are ids of ours."""

from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from agentplat.files.errors import FileNotFound, StorageUnavailable
from agentplat.infra.errors import ConfigError
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger

FOLDER = "uploads"
# Of each part that a bucket gets, and how many may be on their way: together what one upload takes of memory.
PART_BYTES = 5 * 1024 * 1024
PARTS_AT_ONCE = 2
READ_BYTES = 256 * 1024

_log = get_logger(__name__)


@cache
def _store(url: str | None, home: Path) -> Any:
    try:
        if url is None:
            return LocalStore(home / "files", mkdir=True)
        return from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
    except (BaseError, OSError) as error:
        # What else the text has is for Rust programmers.
        raise ConfigError(f"AGENTPLAT_FILES_URL does not work: {str(error).partition(chr(10))[0]}") from error


def check() -> None:
    """Raises ConfigError where the settings don't lead to any storage. Connects to nothing."""
    settings = get_settings()
    _store(settings.files_url, settings.home)


def _storage() -> Any:
    settings = get_settings()
    return _store(settings.files_url, settings.home)


async def put(name: str, content: AsyncIterator[bytes]) -> None:
    """All of it or nothing: what `content` raises is raised, and leaves nothing behind."""
    try:
        await obstore.put_async(
            _storage(), f"{FOLDER}/{name}", content, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )
    except BaseError as error:
        raise _away(error) from error


async def read(name: str, start: int, end: int) -> AsyncIterator[bytes]:
    """From byte `start` up to, not including, byte `end`. That there is no such file, or no storage, is raised here and
    not when it is gone through: an answer may still say so then."""
    if start == end:
        return _chunks(None)
    try:
        return _chunks(await obstore.get_async(_storage(), f"{FOLDER}/{name}", options={"range": (start, end)}))
    except FileNotFoundError as error:
        raise FileNotFound from error
    except BaseError as error:
        raise _away(error) from error


async def _chunks(found: Any) -> AsyncIterator[bytes]:
    try:
        if found is not None:
            async for chunk in found.stream(min_chunk_size=READ_BYTES):
                yield bytes(chunk)
    except BaseError as error:
        raise _away(error) from error


async def delete(name: str) -> None:
    """One that is not there is fine."""
    store = _storage()
    try:
        await obstore.delete_async(store, f"{FOLDER}/{name}")
    except FileNotFoundError:
        pass
    except BaseError as error:
        raise _away(error) from error
    if isinstance(store, LocalStore) and store.prefix is not None:
        # What a process has left that was killed in the middle. Buckets have rules of their own for that.
        for left in (Path(store.prefix) / FOLDER).glob(f"{name}#*"):
            left.unlink(missing_ok=True)


def _away(error: BaseError) -> StorageUnavailable:
    _log.error("storage_failed", reason=str(error).partition("\n")[0])
    return StorageUnavailable()
