"""`python -m benchmarks.rest.load SPEC`: one request over and over, on some connections, from a process of its own.

It knows only as much of HTTP as it needs, so that it takes a small part of what the server takes. SPEC and the Outcome
on stdout are JSON.
"""

import asyncio
import sys
from collections import Counter
from time import perf_counter
from typing import Any

import msgspec
import uvloop
from msgspec import Struct


class Spec(Struct, frozen=True, kw_only=True):
    """`rate` is requests per second, at even distances whatever the answers do; 0 sends the next with each answer."""

    port: int
    request: str
    connections: int = 16
    seconds: float = 5.0
    warm_up: float = 1.0
    rate: float = 0


class Outcome(Struct, frozen=True, kw_only=True):
    """Of what was answered after the warm-up. Milliseconds, from when a request was due."""

    per_second: float
    p50: float
    p99: float
    statuses: dict[int, int]


class Connection(asyncio.Protocol):
    """Tells the status of each answer when it is there whole. Needs `content-length` in it."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.missing = 0
        self.status = 0
        self.answered: Any = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
        else:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            start = head.index(b"content-length:") + 15
            length = int(head[start : head.find(b"\r", start) if b"\r" in head[start:] else None])
            self.status = int(head[9:12])
            self.missing = length - (len(self.buffer) - end - 4)
            self.buffer.clear()
        if not self.missing:
            self.answered(self.status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.answered(0)


async def run(spec: Spec) -> Outcome:
    request = spec.request.encode()
    loop = asyncio.get_running_loop()
    times: list[float] = []
    statuses: Counter[int] = Counter()
    began = perf_counter()
    measured, over = began + spec.warm_up, began + spec.warm_up + spec.seconds

    async def steady(number: int) -> None:
        _, connection = await loop.create_connection(Connection, "127.0.0.1", spec.port)
        due = began + number / spec.rate if spec.rate else 0
        while (moment := perf_counter()) < over:
            if spec.rate:
                if due > moment:
                    await asyncio.sleep(due - moment)
                moment, due = due, due + spec.connections / spec.rate
            answer = loop.create_future()
            connection.answered = lambda status, answer=answer: answer.done() or answer.set_result(status)
            connection.transport.write(request)
            status = await answer
            if measured <= (now := perf_counter()) < over:
                times.append((now - moment) * 1000)
                statuses[status] += 1
            if not status:
                return
        connection.transport.close()

    await asyncio.gather(*(steady(number) for number in range(spec.connections)))
    times.sort()
    return Outcome(
        per_second=len(times) / spec.seconds,
        p50=times[len(times) // 2],
        p99=times[int(len(times) * 0.99)],
        statuses=dict(statuses),
    )


if __name__ == "__main__":
    outcome = uvloop.run(run(msgspec.json.decode(sys.argv[1], type=Spec)))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
