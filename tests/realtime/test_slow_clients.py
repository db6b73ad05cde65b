"""Clients that stall while events come, through real connections: what they are told, and that nothing is missing."""

import asyncio
import json
import socket as sockets
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed

from tests.realtime.test_resuming import everything, watch
from tests.realtime.test_streams import as_streamed, read
from tests.support.client import Socket, User
from tests.support.conditions import PATIENCE_SECONDS, until
from tests.support.drawing import GATE, STORE, Drawing, draw
from tests.support.gates import Gate

# Some 75 MB of events, of which a queue holds 32, and what is under way between the two processes some more.
LENGTH = 25


def heavy(gate: Gate) -> Drawing:
    """It begins at once, and has most of its events once the gate is open."""
    return draw(
        {
            "w": (GATE, {"v": 1, "path": gate.path}),
            "n0": (STORE, {"data": "x" * 500_000}),
            **{f"n{n}": (STORE, {}) for n in range(1, LENGTH)},
        },
        "w.out -> n0.input",
        *(f"n{n}.output -> n{n + 1}.input" for n in range(LENGTH - 1)),
    )


async def test_a_stalled_socket_is_told_what_it_misses_and_gets_it(user: User, gate: Gate) -> None:
    graph, _ = await user.create(heavy(gate))
    async with user.socket() as stalled, user.socket() as quick:
        assert (await quick.ask("subscribe_graph_executions", {"graph_id": graph["id"]}))["success"]
        run = await user.start(graph)
        target = {"graph_exec_id": run["id"], "last_event": 0}
        assert (await stalled.ask("subscribe_graph_execution", target))["success"]
        seen = [await stalled.next()]
        while not (seen[-1]["method"] == "node_execution_event" and seen[-1]["data"]["status"] == "RUNNING"):
            seen.append(await stalled.next())
        # What is replayed waits for its client. From here on it is live.
        stalled.connection.transport.pause_reading()
        gate.open()
        assert (await quick.until_final())[-1]["data"]["status"] == "COMPLETED"
        stalled.connection.transport.resume_reading()
        while (message := await stalled.next())["method"] != "gap":
            seen.append(message)
        last = seen[-1]["seq"]
        assert message["data"] == {"graph_exec_id": run["id"], "last_event": last}
        assert (message["seq"], message["channel"]) == (last, f"watcher|graph_exec#{run['id']}")
        # The socket is good for everything else, and nothing more of this run comes unasked.
        assert (await stalled.ask("heartbeat"))["data"] == "pong"
        _, rest = await watch(stalled, run["id"], last_event=last)
    assert seen + rest == await everything(user, run["id"])


async def test_a_stalled_event_stream_is_ended_and_resumed(user: User, gate: Gate) -> None:
    """Its client notices the end before the run's last event, and comes back with the number that it has."""
    graph, _ = await user.create(heavy(gate))
    run = await user.start(graph)
    path = f"/api/executions/{run['id']}/events"
    address = urlsplit(user.url)
    with sockets.socket() as plain:
        # What the kernel holds is small and known; the client's own buffers are not in between.
        plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 64 * 1024)
        plain.connect((address.hostname, address.port))
        plain.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode())

        async def begun() -> bool:
            come = await asyncio.to_thread(plain.recv, 64 * 1024, sockets.MSG_PEEK)
            return b'"RUNNING"' in come.partition(b"event: node_execution_event")[2]

        await until(begun)  # what is replayed waits for its client
        gate.open()
        await user.finished(run)
        plain.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=plain, limit=1 << 30)
        try:
            seen = await chunked_events(reader)
        finally:
            writer.close()
            await writer.wait_closed()
    every = as_streamed(await everything(user, run["id"]))
    assert 0 < len(seen) < len(every)
    assert seen == every[: len(seen)]
    assert await read(user, path, **{"Last-Event-ID": seen[-1]["id"]}) == every[len(seen) :]


async def chunked_events(reader: asyncio.StreamReader) -> list[dict[str, Any]]:
    """All events until the end of the answer, which must be a proper end."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"chunked" in head
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    found = []
    for block in body.decode().split("\n\n"):
        members = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in members:
            found.append({**members, "data": json.loads(members["data"])})
    return found


async def test_a_flood_of_messages_closes_the_socket(user: User) -> None:
    """More than a hundred a second, for ten seconds: shorter floods are nobody's fault."""
    busy = 0

    async def say(socket: Socket, times: int) -> None:
        for _ in range(times):
            await socket.tell("heartbeat", "ping")
        for _ in range(times):
            assert (await socket.next())["data"] == "pong"

    async def flood(socket: Socket) -> None:
        nonlocal busy
        while True:
            second = int(monotonic())
            # The first of a second is the one that is too many, and is sent alone: who sends more into a closed
            # connection is told so by the network, perhaps before reading why it was closed.
            await say(socket, 1)
            await say(socket, 120)
            busy += 1
            await asyncio.sleep(second + 1 - monotonic())  # the rate is the subject

    async with user.socket() as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(flood(socket), PATIENCE_SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert busy >= 10
    async with user.socket() as socket:
        assert (await socket.ask("heartbeat"))["data"] == "pong"
