"""The clients' process, from outside."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from benchmarks.sockets.client import Seen, Spec

LINE_LIMIT = 1 << 30
# For the opening of all sockets: thousands take some seconds.
OPEN_SECONDS = 60.0


def allow_files() -> None:
    """As many open files as this account may have; for us and the processes that we start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Crowd:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def seen(self, quiet: float = 0.0) -> Seen:
        """What the sockets saw until nothing came for `quiet` seconds, which ends them."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{quiet}\n".encode())
        return msgspec.json.decode(await self._process.stdout.readline(), type=Seen)


@asynccontextmanager
async def crowd(spec: Spec) -> AsyncIterator[Crowd]:
    """All sockets of `spec`, open."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.sockets.client",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(msgspec.json.encode(spec) + b"\n")
        async with asyncio.timeout(OPEN_SECONDS):
            if await process.stdout.readline() != b"open\n":
                raise ConnectionError(f"The sockets at {spec.url.partition('?')[0]} can't be opened")
        yield Crowd(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
