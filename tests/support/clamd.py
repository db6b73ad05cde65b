"""A server that speaks clamd's protocol as far as it is used, and says what a test wants it to say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.serving import serving

# Every scanner calls this a virus. In two halves, so that none calls this file one.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}" + rb"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Clamd:
    """`limit`: beyond so many bytes it answers at once and hangs up. `silent`: it takes everything and says nothing."""

    def __init__(self, reply: bytes | None, limit: int | None, silent: bool) -> None:
        self.reply = reply
        self.limit = limit
        self.silent = silent
        self.seen: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        content = bytearray()
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            content += await reader.readexactly(size)
            if self.limit is not None and len(content) > self.limit:
                writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                await writer.drain()
                return
        self.seen.append(bytes(content))
        if self.silent:
            await reader.read()
        verdict = b"stream: Eicar-Test-Signature FOUND\0" if EICAR in content else b"stream: OK\0"
        writer.write(verdict if self.reply is None else self.reply)
        await writer.drain()


@asynccontextmanager
async def clamd(reply: bytes | None = None, *, limit: int | None = None, silent: bool = False) -> AsyncIterator[Clamd]:
    one = Clamd(reply, limit, silent)
    async with serving(one.answer) as one.port:
        yield one
