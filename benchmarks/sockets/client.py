"""A crowd of WebSocket clients in a process of its own, so lean that they don't limit what they measure.

`python -m benchmarks.sockets.client < spec` connects, prints a line, counts what comes, and prints what it has seen
once nothing has come for so many seconds as another line says. It reads frames off the wire itself: a client library
costs more per message than the server does.
"""

import asyncio
import base64
import os
import signal
import socket
import struct
import sys
from array import array
from time import perf_counter
from urllib.parse import urlsplit

import msgspec
import uvloop

# One event, in whatever it is framed: what `method` is when it is none of an answer.
EVENT = b'_execution_event"'
NUMBER = b'"seq":'
TEXT, PING, PONG = 1, 9, 10
MOST_SECONDS = 60.0
AT_ONCE = 200  # connects in flight, so that no backlog overflows


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """`count` sockets that send `requests` once they are open. Of `timed` ones each event's number and time is kept."""

    count: int
    requests: list[str] = []
    timed: bool = False
    stalled: bool = False


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """`heartbeat` is the time in seconds between two heartbeats of one socket, 0 for none."""

    url: str
    groups: list[Group]
    heartbeat: float = 0.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Of all sockets that read. `times` are triples: group, number of the event, seconds of the machine's clock."""

    frames: int
    events: int
    bytes: int
    first: float
    last: float
    least: int
    closed: int
    times: list[tuple[int, int, float]]


class Socket(asyncio.Protocol):
    """Sends no more than it has to, and looks at no more of a frame than its length."""

    def __init__(self, host: str, path: str, group: Group, opened: asyncio.Future[None]) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._group = group
        self._opened = opened
        self._buffer = bytearray()
        self._shaken = False
        self.transport: asyncio.Transport
        self.frames = self.events = self.bytes = 0
        self.first = self.last = 0.0
        self.closed = False
        self.numbers = array("l")
        self.moments = array("d")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self.transport = transport  # type: ignore[assignment]  # uvloop has classes of its own
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._shaken:
            head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not separator:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._shaken = True
            self._buffer = bytearray(rest)
            for request in self._group.requests:
                self.say(TEXT, request.encode())
            if self._group.stalled:
                self.transport.pause_reading()
            self._opened.set_result(None)
        if len(self._buffer) >= 2:
            self._read()

    def _read(self) -> None:
        buffer, at, now = self._buffer, 0, perf_counter()
        while at + 2 <= len(buffer):
            length, begin = buffer[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, begin = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if begin + length > len(buffer) or begin > len(buffer):
                break
            if buffer[at] & 15 == TEXT:
                self._count(buffer, begin, begin + length, now)
            elif buffer[at] & 15 == PING:
                self.say(PONG, bytes(buffer[begin : begin + length]))
            at = begin + length
        del buffer[:at]

    def _count(self, buffer: bytearray, begin: int, end: int, now: float) -> None:
        events = buffer.count(EVENT, begin, end)
        if not events:
            return
        self.frames += 1
        self.events += events
        self.bytes += end - begin
        self.first = self.first or now
        self.last = now
        if self._group.timed:
            at = buffer.rfind(NUMBER, begin, end)
            while at >= begin and events:
                stop = at + len(NUMBER)
                while 48 <= buffer[stop] <= 57:
                    stop += 1
                self.numbers.append(int(buffer[at + len(NUMBER) : stop]))
                self.moments.append(now)
                at, events = buffer.rfind(NUMBER, begin, at), events - 1

    def say(self, opcode: int, payload: bytes) -> None:
        # Masked with zeros, which is allowed, and spares the work.
        length = len(payload)
        head = (
            bytes((0x80 | opcode, 0x80 | length)) if length < 126 else struct.pack("!BBH", 0x80 | opcode, 254, length)
        )
        self.transport.write(head + b"\0\0\0\0" + payload)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("refused"))


async def main(spec: Spec) -> None:
    loop = asyncio.get_running_loop()
    parts = urlsplit(spec.url)
    path = f"{parts.path}?{parts.query}"
    sockets: list[tuple[int, Socket]] = []
    opening: set[asyncio.Future[None]] = set()
    for number, group in enumerate(spec.groups):
        for _ in range(group.count):
            opened: asyncio.Future[None] = loop.create_future()
            _, one = await loop.create_connection(
                lambda group=group, opened=opened: Socket(parts.netloc, path, group, opened),  # type: ignore[misc]
                parts.hostname,
                parts.port,
            )
            sockets.append((number, one))
            opening.add(opened)
            if len(opening) >= AT_ONCE:
                await asyncio.gather(*opening)
                opening.clear()
    await asyncio.gather(*opening)
    beating = asyncio.create_task(_beat([one for _, one in sockets], spec.heartbeat)) if spec.heartbeat else None
    sys.stdout.write("open\n")
    sys.stdout.flush()
    quiet = float(await asyncio.to_thread(sys.stdin.readline))
    if beating is not None:
        beating.cancel()
    reading = [(number, one) for number, one in sockets if not spec.groups[number].stalled]
    await _silence([one for _, one in reading], quiet)
    firsts = [one.first for _, one in reading if one.first]
    seen = Seen(
        frames=sum(one.frames for _, one in reading),
        events=sum(one.events for _, one in reading),
        bytes=sum(one.bytes for _, one in reading),
        first=min(firsts, default=0.0),
        last=max((one.last for _, one in reading), default=0.0),
        least=min((one.events for _, one in reading), default=0),
        closed=sum(one.closed for _, one in reading),
        times=[
            (number, seq, moment)
            for number, one in reading
            for seq, moment in zip(one.numbers, one.moments, strict=True)
        ],
    )
    sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
    sys.stdout.flush()


async def _silence(sockets: list[Socket], seconds: float) -> None:
    """Until nothing has come for so long, counted from now."""
    asked = now = perf_counter()
    while seconds and now < asked + MOST_SECONDS:
        left = max(asked, *(one.last for one in sockets)) + seconds - now
        if left <= 0:
            return
        await asyncio.sleep(left)
        now = perf_counter()


async def _beat(sockets: list[Socket], seconds: float) -> None:
    """Each socket every so often, one after another, as clients that came at different times do."""
    while True:
        for one in sockets:
            one.say(TEXT, b'{"method":"heartbeat","data":"ping","success":true}')
            await asyncio.sleep(seconds / len(sockets))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    socket.setdefaulttimeout(None)
    uvloop.run(main(msgspec.json.decode(sys.stdin.readline(), type=Spec)))
