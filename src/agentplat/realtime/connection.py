"""One socket: what its client asks for, and the frames that wait for it."""

import asyncio
from collections import deque
from typing import Any

import msgspec
from litestar.connection import WebSocket
from litestar.exceptions import WebSocketDisconnect

from agentplat.realtime.hub import Hub
from agentplat.realtime.models import (
    ClientMessage,
    GraphTarget,
    Method,
    Pong,
    RunTarget,
    ServerMessage,
    graph_channel,
    run_channel,
)

# What a client may lag behind. Beyond it the socket is closed, never silently thinned out: a client that reconnects
# and reads the run knows where it stands, one that misses events doesn't.
MAX_FRAMES = 50_000
MAX_BYTES = 32 * 1024 * 1024
# "Try again later", RFC 6455's registry.
TOO_SLOW = 1013
MAX_SUBSCRIPTIONS = 1000

_decode = msgspec.json.Decoder(ClientMessage).decode
_encode = msgspec.json.Encoder().encode


class Connection:
    """Serves one accepted socket until it closes. `offer` may be called at any time and never blocks."""

    def __init__(self, socket: WebSocket[Any, Any, Any], hub: Hub, user_id: str) -> None:
        self._socket = socket
        self._hub = hub
        self._user_id = user_id
        self._frames: deque[str] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._overrun = False
        self._channels: set[str] = set()

    def offer(self, frame: str) -> None:
        if self._overrun:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) > MAX_FRAMES or self._bytes > MAX_BYTES:
            self._overrun = True
            self._frames.clear()
        self._wake.set()

    async def serve(self) -> None:
        sender = asyncio.create_task(self._send())
        receiver = asyncio.create_task(self._receive())
        try:
            await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.drop(self, self._channels)
            sender.cancel()
            receiver.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)
        # Not by the sender: granian never gets done with a close while somebody still waits to receive.
        if self._overrun:
            await self._socket.close(TOO_SLOW, "too slow")

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._frames:
                frame = self._frames.popleft()
                self._bytes -= len(frame)
                await self._socket.send({"type": "websocket.send", "text": frame, "bytes": None})
            if self._overrun:
                return

    async def _receive(self) -> None:
        while True:
            try:
                event = await self._socket.receive()
            except WebSocketDisconnect:
                return
            if event["type"] == "websocket.disconnect":
                return
            if event["type"] == "websocket.receive":
                self._answer(event.get("text"))

    def _answer(self, text: str | None) -> None:
        try:
            message = _decode(text or "")
        except (msgspec.DecodeError, UnicodeEncodeError):
            self._refuse("Message format invalid")
            return
        if message.method == "heartbeat":
            self.offer(_encode(Pong()).decode())
        elif message.method in ("subscribe_graph_execution", "subscribe_graph_executions", "unsubscribe"):
            self._change_subscription(message)
        elif message.method != "error":  # an error of the client's is its own affair
            self._refuse(f"Message type '{message.method}' is not handled by the server")

    def _change_subscription(self, message: ClientMessage) -> None:
        if not message.data:
            self._refuse("Subscription data missing")
            return
        try:
            if message.method == "subscribe_graph_executions":
                channel = graph_channel(self._user_id, msgspec.convert(message.data, GraphTarget).graph_id)
            else:
                channel = run_channel(self._user_id, msgspec.convert(message.data, RunTarget).graph_exec_id)
        except msgspec.ValidationError as error:
            self._refuse(f"Message data invalid: {error}")
            return
        if message.method == "unsubscribe":
            was_there = self._hub.unsubscribe(self, channel)
            self._channels.discard(channel)
            self._acknowledge(message.method, channel if was_there else None)
        elif len(self._channels) >= MAX_SUBSCRIPTIONS and channel not in self._channels:
            self._refuse(f"More than {MAX_SUBSCRIPTIONS} subscriptions on one socket")
        else:
            self._hub.subscribe(self, channel)
            self._channels.add(channel)
            self._acknowledge(message.method, channel)

    def _acknowledge(self, method: Method, channel: str | None) -> None:
        self.offer(_encode(ServerMessage(method=method, success=True, channel=channel)).decode())

    def _refuse(self, reason: str) -> None:
        self.offer(_encode(ServerMessage(method="error", success=False, error=reason)).decode())
