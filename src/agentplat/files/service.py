"""The files that a run works with: one folder per run, gone when the run is over."""

import asyncio
import shutil
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from agentplat.files.rules import MAX_FILE_BYTES, MAX_RUN_BYTES, data_uri, new_name, read_data_uri, safe_name
from agentplat.infra import outbound
from agentplat.infra.settings import get_settings
from agentplat.sdk import BlockError


class RunFiles:
    """Implements what blocks see as `ctx.files`. Made for every execution, so it does nothing until it is asked to."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

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
                content = await outbound.fetch(source, max_bytes=MAX_FILE_BYTES)
            except outbound.FetchFailed as error:
                raise BlockError(str(error)) from error
            return safe_name(last or str(uuid4())), content
        if "://" in source:
            raise BlockError(f"Files in cloud storage are not available here: {source[:100]}")
        return safe_name(source), None

    def _read(self, name: str) -> bytes:
        path = self._path(name)
        try:
            if path.is_symlink() or not path.is_file():
                raise FileNotFoundError
            return path.read_bytes()
        except OSError:
            raise BlockError(f"Local file does not exist: {name}") from None

    def _write(self, name: str, content: bytes) -> None:
        if len(content) > MAX_FILE_BYTES:
            raise BlockError(f"File too large: {len(content)} bytes, at most {MAX_FILE_BYTES} are allowed")
        path = self._path(name)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = sum(entry.stat().st_size for entry in self.folder.iterdir())
        if used + len(content) > MAX_RUN_BYTES:
            raise BlockError(f"Disk usage limit exceeded: a run may keep {MAX_RUN_BYTES} bytes")
        path.write_bytes(content)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if path.parent != self.folder:
            raise BlockError("Local file path is outside the temp_base directory. Access denied.")
        return path


def of_run(run_id: str) -> RunFiles:
    return RunFiles(run_id)


async def discard(run_id: str) -> None:
    """Delete a run's files."""
    folder = of_run(run_id).folder
    if folder.exists():
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
