"""A look at a file by clamd while it passes by: the INSTREAM command of its protocol.

The file is sent in pieces with their length in front, and an empty piece at its end; then comes one line, which says
`OK`, `… FOUND` or what went wrong. Only `OK` lets a file in.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from agentplat.files.errors import FileInfected, ScanFailed
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import get_logger

_MAX_REPLY = 4096
_log = get_logger(__name__)


class Scan:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout

    async def feed(self, chunk: bytes) -> None:
        await self._send(len(chunk).to_bytes(4, "big") + chunk)

    async def finish(self) -> None:
        """Raises FileInfected or ScanFailed."""
        await self._send(bytes(4))
        await self._judge()

    async def _send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                self._writer.write(data)
                await self._writer.drain()
        except TimeoutError:
            raise _failed("it takes nothing") from None
        except OSError:
            # It has hung up, perhaps with a word why: files beyond its own limit are answered this way.
            await self._judge()
            raise _failed("it hung up") from None

    async def _judge(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                reply = (await self._reader.readuntil(b"\0")).rstrip(b"\0\n").decode(errors="replace")
        except TimeoutError:
            raise _failed("it says nothing") from None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise _failed("it hung up") from None
        said = reply.removeprefix("stream: ")
        if said.endswith(" FOUND"):
            raise FileInfected(f"The file has a virus: {said.removesuffix(' FOUND')}")
        if said != "OK":
            raise _failed(said)


@asynccontextmanager
async def scan(settings: Settings) -> AsyncIterator[Scan | None]:
    """None where no clamd is configured."""
    if settings.clamav_host is None:
        yield None
        return
    timeout = settings.clamav_timeout_seconds
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(settings.clamav_host, settings.clamav_port, limit=_MAX_REPLY)
    except (TimeoutError, OSError) as error:
        raise _failed(f"it can't be reached: {str(error) or type(error).__name__}") from None
    try:
        writer.write(b"zINSTREAM\0")
        yield Scan(reader, writer, timeout)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _failed(reason: str) -> ScanFailed:
    _log.error("scan_failed", reason=reason)
    return ScanFailed()
