"""Clients of the event socket that come and go as badly as clients do, in a process of their own.

`python -m tests.faults.viewers < spec` reads ids of runs from its stdin, one per line, and gives each to some clients.
Whatever happens to its connection, a client has to see events 1, 2, 3 … of its run up to the final one. What it saw it
writes down as it came, without putting anything right, as one line of JSON when the run is over.
"""

import asyncio
import random
import signal
import socket
import struct
import sys
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

FINAL = ("COMPLETED", "FAILED", "TERMINATED")
AGAIN_SECONDS = 0.1
# How many events a client looks at before it drops, and how long it is gone.
MOST_SEEN, LONGEST_AWAY = 60, 1.5


class Spec(Struct, frozen=True, kw_only=True):
    """`viewers` clients per run, of which no more than `sockets` are connected at once."""

    url: str
    token: str
    viewers: int
    sockets: int
    seed: int


class Saw(Struct, frozen=True, kw_only=True):
    """What one client saw of one run: numbers and digests of events in the order in which they came."""

    run_id: str
    numbers: list[int]
    digests: list[str]
    drops: dict[str, int]
    errors: list[str]


class _Data(Struct, frozen=True):
    status: str = ""


class Message(Struct, frozen=True):
    method: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    seq: int | None = None
    error: str | None = None


_messages = msgspec.json.Decoder(Message | list[Message])


def digest(method: str, data: bytes) -> str:
    """Of an event, whoever encoded it."""
    canonical = msgspec.json.encode([method, msgspec.json.decode(data)], order="sorted")
    return sha256(canonical).hexdigest()[:16]


class Viewer:
    """One client of one run, in its several lives."""

    def __init__(self, spec: Spec, run_id: str, chance: random.Random) -> None:
        self._spec = spec
        self._run_id = run_id
        self._chance = chance
        self._numbers: list[int] = []
        self._digests: list[str] = []
        self._drops: dict[str, int] = {}
        self._errors: list[str] = []
        self._over = False
        self._abandoned: list[ClientConnection] = []

    async def watch(self) -> Saw:
        while not self._over:
            try:
                await self._live()
            except (OSError, WebSocketException, TimeoutError) as error:
                self._drop(f"lost: {type(error).__name__}")
                await asyncio.sleep(AGAIN_SECONDS)
        for socket_ in self._abandoned:
            socket_.transport.abort()
        return Saw(
            run_id=self._run_id,
            numbers=self._numbers,
            digests=self._digests,
            drops=self._drops,
            errors=self._errors,
        )

    async def _live(self) -> None:
        socket_ = await connect(f"{self._spec.url}?token={self._spec.token}", max_size=None, compression=None)
        data: dict[str, Any] = {
            "graph_exec_id": self._run_id,
            "last_event": self._numbers[-1] if self._numbers else 0,
            "batch": self._chance.random() < 0.5,
        }
        await socket_.send(msgspec.json.encode({"method": "subscribe_graph_execution", "data": data}), text=True)
        left = self._chance.randrange(1, MOST_SEEN)
        while not self._over and left > 0:
            left -= self._take(await socket_.recv())
        if self._over:
            await socket_.close()
            return
        await self._leave(socket_)
        await asyncio.sleep(self._chance.random() * LONGEST_AWAY)

    def _take(self, text: str | bytes) -> int:
        """How many events those were. A frame is taken whole, also when it ends the client's interest."""
        messages = _messages.decode(text)
        seen = 0
        for message in messages if isinstance(messages, list) else [messages]:
            if message.method == "error":
                self._errors.append(str(message.error))
                self._over = len(self._errors) > 20
                seen += 1
            if message.method == "gap":
                self._drop("gap")
                return MOST_SEEN  # reconnects, and resumes
            if not message.method.endswith("_execution_event"):
                continue
            seen += 1
            self._numbers.append(message.seq or 0)
            self._digests.append(digest(message.method, bytes(message.data)))
            if message.method == "graph_execution_event":
                self._over = msgspec.json.decode(message.data, type=_Data).status in FINAL
        return seen

    async def _leave(self, socket_: ClientConnection) -> None:
        how = self._chance.choice(("clean close", "reset", "half-open"))
        self._drop(how)
        if how == "clean close":
            await socket_.close()
        elif how == "reset":
            raw = socket_.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket_.transport.abort()
        else:
            socket_.transport.pause_reading()
            self._abandoned.append(socket_)

    def _drop(self, how: str) -> None:
        self._drops[how] = self._drops.get(how, 0) + 1


async def main(spec: Spec) -> None:
    chance = random.Random(spec.seed)
    places = asyncio.Semaphore(spec.sockets)
    watching: set[asyncio.Task[None]] = set()

    async def one(run_id: str, seed: int) -> None:
        async with places:
            saw = await Viewer(spec, run_id, random.Random(seed)).watch()
        sys.stdout.buffer.write(msgspec.json.encode(saw) + b"\n")
        sys.stdout.flush()

    while line := await asyncio.to_thread(sys.stdin.readline):
        for _ in range(spec.viewers):
            task = asyncio.create_task(one(line.strip(), chance.randrange(2**32)))
            watching.add(task)
            task.add_done_callback(watching.discard)
    await asyncio.gather(*watching)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(msgspec.json.decode(sys.stdin.readline(), type=Spec)))
