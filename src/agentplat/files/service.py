"""The files that a run works with: one folder per run, gone when the run is over."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from agentplat.files import storage, uploads
from agentplat.files.errors import FileNotFound
from agentplat.files.models import StoredFile
from agentplat.files.rules import (
    MAX_FILE_BYTES,
    MAX_RUN_BYTES,
    UPLOADS,
    data_uri,
    new_name,
    read_data_uri,
    read_upload_uri,
    safe_name,
)
from agentplat.infra import outbound
from agentplat.infra.settings import get_settings
from agentplat.sdk import BlockError


class RunFiles:
    """Implements what blocks see as `ctx.files`. Made for every execution, so it does nothing until it is asked to.

    `user_id` is whose uploads it may bring into the folder; None where only those are to be had that were brought.
    Limits are in bytes.
    """

    def __init__(
        self,
        run_id: str,
        user_id: str | None = None,
        *,
        fetch: Callable[..., Awaitable[bytes]] = outbound.fetch,
        max_file: int = MAX_FILE_BYTES,
        max_run: int = MAX_RUN_BYTES,
    ) -> None:
        self.run_id = run_id
        self.user_id = user_id
        self._fetch_url = fetch
        self._max_file = max_file
        self._max_run = max_run

    @cached_property
    def folder(self) -> Path:
        return get_settings().home / "run_files" / safe_name(self.run_id)

    async def store(self, source: str, *, inline: bool = False) -> str:
        name, content = await self._fetch(source)
        if content is None:
            content = await asyncio.to_thread(self._read, name)
        else:
            await asyncio.to_thread(self._write, name, content)
        return data_uri(name, content) if inline else name

    async def read(self, source: str) -> bytes:
        name, content = await self._fetch(source)
        return await asyncio.to_thread(self._read, name) if content is None else content

    async def _fetch(self, source: str) -> tuple[str, bytes | None]:
        """The file's name in this folder, and its content unless it is there already."""
        if source.startswith("data:"):
            mime, content = read_data_uri(source)
            return new_name(mime), content
        if source.startswith(("http://", "https://")):
            last = unquote(urlsplit(source).path.rpartition("/")[2])
            try:
                content = await self._fetch_url(source, max_bytes=self._max_file)
            except outbound.FetchFailed as error:
                raise BlockError(str(error)) from error
            return safe_name(last or str(uuid4())), content
        if source.startswith(UPLOADS):
            return await self.bring(source), None
        if "://" in source:
            raise BlockError(f"Files in cloud storage are not available here: {source[:100]}")
        return safe_name(source), None

    async def bring(self, uri: str) -> str:
        """The name in this folder of an uploaded file, which is copied there unless it is there already."""
        file_id, name = read_upload_uri(uri)
        path = self._path(name)
        if await asyncio.to_thread(path.is_file):
            return name
        if self.user_id is None:
            raise BlockError("Only files that the input names are available here.")
        try:
            file = await uploads.find(self.user_id, file_id)
            await self._copy(file, path)
        except FileNotFound:
            raise BlockError(f"There is no uploaded file {file_id[:100]} (any more)") from None
        return name

    async def _copy(self, file: StoredFile, path: Path) -> None:
        # Under another name until it is complete, as several nodes may want it at once.
        draft = path.with_name(f".{uuid4().hex}")
        try:
            await asyncio.to_thread(self._make_room, file.size)
            try:
                with await asyncio.to_thread(draft.open, "xb") as target:
                    async for chunk in await storage.read(file.id, 0, file.size):
                        await asyncio.to_thread(target.write, chunk)
                await asyncio.to_thread(draft.replace, path)
            finally:
                await asyncio.to_thread(draft.unlink, missing_ok=True)
        except OSError as error:
            raise _not_written(error) from error

    def _read(self, name: str) -> bytes:
        path = self._path(name)
        try:
            if path.is_symlink() or not path.is_file():
                raise FileNotFoundError
            return path.read_bytes()
        except OSError:
            raise BlockError(f"Local file does not exist: {name}") from None

    def _write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        try:
            self._make_room(len(content))
            path.write_bytes(content)
        except OSError as error:
            raise _not_written(error) from error

    def _make_room(self, size: int) -> None:
        """Make the folder, and see that a file of this size fits into it."""
        if size > self._max_file:
            raise BlockError(f"File too large: {size} bytes, at most {self._max_file} are allowed")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = sum(map(_size, self.folder.iterdir()))
        if used + size > self._max_run:
            raise BlockError(f"Disk usage limit exceeded: a run may keep {self._max_run} bytes")

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if path.parent != self.folder:
            raise BlockError("Local file path is outside the temp_base directory. Access denied.")
        return path


def _not_written(error: OSError) -> BlockError:
    """A disk that is full fails its node. The error itself has our paths in it, and looks like that of a database that
    is away, which would be waited for."""
    return BlockError(f"The file can't be written: {error.strerror}")


def _size(entry: Path) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a draft that has just got its name
        return 0


def of_run(run_id: str, user_id: str | None) -> RunFiles:
    return RunFiles(run_id, user_id)


async def bring(user_id: str, run_id: str, data: Any) -> None:
    """Have all uploaded files that `data` names in the folder of the run, for a process that can't ask for them."""
    files = of_run(run_id, user_id)
    for uri in dict.fromkeys(_uploads_in(data)):
        await files.bring(uri)


def _uploads_in(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        if data.startswith(UPLOADS):
            yield data
    elif isinstance(data, dict | list):
        for value in data.values() if isinstance(data, dict) else data:
            yield from _uploads_in(value)


async def discard(run_id: str) -> None:
    """Delete a run's files."""
    folder = of_run(run_id, None).folder
    if folder.exists():
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


# Uploads, for the processes that take them in and that tidy up


check_storage = storage.check
remove_expired = uploads.remove_expired
