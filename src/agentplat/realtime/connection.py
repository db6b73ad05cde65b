"""One socket: what its client asks for, and what it is sent."""

import asyncio
from time import monotonic
from typing import Any

import msgspec
from litestar.types import Receive, Send
from msgspec import Raw

from agentplat.infra.errors import AppError
from agentplat.infra.telemetry import get_logger
from agentplat.realtime import metrics
from agentplat.realtime.frames import Chunk, Text
from agentplat.realtime.hub import Hub
from agentplat.realtime.models import (
    MAX_RESUMED,
    ChannelKey,
    ClientMessage,
    GraphTarget,
    Method,
    Pong,
    RunTarget,
    ServerMessage,
    UnsubscribeTarget,
    UserTarget,
)
from agentplat.realtime.outbox import Outbox, observe
from agentplat.realtime.session import Session
from agentplat.realtime.subscription import Subscription

MAX_SUBSCRIPTIONS = 1000
MAX_FRAME = 1024 * 1024
# A client that sends more than so many messages in each of so many seconds is not one of ours.
MAX_MESSAGES_PER_SECOND = 100
PATIENT_SECONDS = 10
# Runs of which a client may have been told that it missed events, and not have read that yet.
MAX_GAPS = 1000

# RFC 6455: policy violated, message too big, a mistake of the server's; its registry: try again later.
FLOODED = 1008
TOO_BIG = 1009
FAILED = 1011
TOO_SLOW = 1013

_decode = msgspec.json.Decoder(ClientMessage).decode
_encode = msgspec.json.Encoder().encode
_log = get_logger(__name__)
_SUBSCRIBING: dict[str, Method] = {
    "run": "subscribe_graph_execution",
    "graph": "subscribe_graph_executions",
    "user": "subscribe_user",
}


class _Closing(Exception):
    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason


class Connection:
    """Serves one accepted socket until it closes. What the hub calls never waits.

    It sends by a task of its own, which is there only while there is something to send: most sockets are silent most of
    the time, and there are thousands.
    """

    __slots__ = (
        "_batching",
        "_busy_seconds",
        "_closing",
        "_ended",
        "_gaps",
        "_hub",
        "_in_second",
        "_outbox",
        "_second",
        "_send",
        "_sender",
        "_serving",
        "_session",
        "_user_id",
    )

    def __init__(self, hub: Hub, user_id: str) -> None:
        self._hub = hub
        self._user_id = user_id
        self._session = Session(hub, self, user_id)
        self._outbox = Outbox(self._start_sending)
        self._send: Send
        self._sender: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[Any] | None = None
        self._ended = False
        self._batching = False
        self._closing: _Closing | None = None
        self._gaps = 0  # not sent yet
        self._second, self._in_second, self._busy_seconds = 0, 0, 0

    async def serve(self, receive: Receive, send: Send) -> None:
        self._send = send
        metrics.SOCKETS.inc()
        self._hub.enter(self, self._user_id)
        self._serving = serving = asyncio.current_task()
        assert serving is not None
        try:
            await self._receive(receive)
        except asyncio.CancelledError:
            if not self._ended or serving.uncancel():
                raise  # not, or not only, our own
        except Exception:
            # It ends this socket, with a code that its client sees, and nothing else.
            _log.exception("socket_failed")
            self._closing = _Closing(FAILED, "internal error")
        finally:
            self._ended = True
            self._hub.leave(self, self._user_id)
            if (sender := self._sender) is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
            await self._session.close()
            metrics.SOCKETS.dec()
        # Not by the sender: granian never gets done with a close while somebody still waits to receive.
        if self._closing is not None:
            await send({"type": "websocket.close", "code": self._closing.code, "reason": self._closing.reason})

    # What the hub and the session tell

    def offer(self, chunk: Chunk, numbered: bool) -> bool:
        count = len(chunk.events)
        if self._closing is not None or not count:
            return True
        if not self._outbox.fits(count, chunk.size):
            metrics.DROPPED.inc(count)
            return False
        texts = [chunk.joined(numbered)] if self._batching else chunk.texts(numbered)
        self._outbox.add(texts, count, chunk.size)
        return True

    def gap(self, subscription: Subscription, chunk: Chunk) -> None:
        self._gaps += 1
        if not subscription.numbered or self._gaps > MAX_GAPS:
            self._close(TOO_SLOW, "too slow")
            return
        metrics.GAPS.inc()
        data = {"graph_exec_id": chunk.run_id, "last_event": chunk.before}
        message = ServerMessage(method="gap", success=True, channel=str(chunk.key), data=data, seq=chunk.before)
        self._put(message, bounded=False)

    def notify(self, payload: str) -> None:
        self._put(ServerMessage(method="notification", data=Raw(payload.encode())))

    async def room(self) -> None:
        await self._outbox.room()

    def acknowledge(self, key: ChannelKey, number: int | None, over: bool) -> None:
        self._confirm(_SUBSCRIBING[key.kind], key, {"seq": number})

    def snapshot(self, key: ChannelKey, number: int | None, data: bytes) -> None:
        message = ServerMessage(method="snapshot", data=Raw(data), success=True, channel=str(key), seq=number)
        self._put(message, bounded=False)

    def fail(self, error: AppError) -> None:
        self._refuse(error.message)

    # Sending

    def _put(self, message: ServerMessage | Pong, bounded: bool = True) -> None:
        if self._closing is not None:
            return
        encoded = _encode(message)
        if bounded and not self._outbox.fits(1, len(encoded)):
            self._close(TOO_SLOW, "too slow")
            return
        self._outbox.add([Text(encoded.decode(), 1, len(encoded))], 1, len(encoded))

    def _close(self, code: int, reason: str) -> None:
        self._closing = self._closing or _Closing(code, reason)
        self._end()

    def _end(self) -> None:
        """Have the socket served no longer. Where the receiver itself says so, it looks before it waits again."""
        serving = self._serving
        if not self._ended and serving is not None and serving is not asyncio.current_task():
            self._ended = True
            serving.cancel()

    def _start_sending(self) -> None:
        if self._sender is None and not self._ended:
            self._sender = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        outbox, send = self._outbox, self._send
        sent, published = 0, None
        try:
            while outbox and self._closing is None:
                frame = outbox.take(self._batching)
                await send({"type": "websocket.send", "text": frame.text, "bytes": None})
                if frame.published is not None:
                    sent, published = sent + frame.count, frame.published
            self._gaps = 0
        except Exception:
            # Each server has its own error for a client that has gone, and there is nobody left to tell.
            self._end()
        finally:
            # Nothing was awaited since the outbox was seen empty, so nothing is left in it that nobody sends.
            self._sender = None
            metrics.DELIVERED.inc(sent)
            observe(published)

    # Receiving

    async def _receive(self, receive: Receive) -> None:
        while self._closing is None:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            if event["type"] == "websocket.receive":
                await self._answer(event.get("text"), event.get("bytes"))

    async def _answer(self, text: str | None, binary: bytes | None) -> None:
        if len(binary or text or "") > MAX_FRAME or (text and not text.isascii() and _bytes_of(text) > MAX_FRAME):
            self._close(TOO_BIG, "message too big")
            return
        if self._is_flood():
            self._close(FLOODED, "too many messages")
            return
        try:
            message = _decode(text or "")
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            self._refuse("Message format invalid")
            return
        if message.method == "heartbeat":
            self._put(Pong())
        elif message.method in ("unsubscribe", *_SUBSCRIBING.values()):
            await self._change_subscription(message)
        elif message.method != "error":  # an error of the client's is its own affair
            self._refuse(f"Message type '{message.method}' is not handled by the server")

    async def _change_subscription(self, message: ClientMessage) -> None:
        if not message.data and message.method != "subscribe_user":
            self._refuse("Subscription data missing")
            return
        try:
            if message.method == "unsubscribe":
                await self._unsubscribe(msgspec.convert(message.data, UnsubscribeTarget))
            elif message.method == "subscribe_graph_execution":
                run = msgspec.convert(message.data, RunTarget)
                await self._subscribe(ChannelKey(self._user_id, "run", run.graph_exec_id), run)
            elif message.method == "subscribe_graph_executions":
                graph = msgspec.convert(message.data, GraphTarget)
                await self._subscribe(ChannelKey(self._user_id, "graph", graph.graph_id), graph)
            else:
                user = msgspec.convert({} if message.data is None else message.data, UserTarget)
                await self._subscribe(ChannelKey(self._user_id, "user", ""), user)
        except msgspec.ValidationError as error:
            self._refuse(f"Message data invalid: {error}")
        except AppError as error:
            self._refuse(error.message)

    async def _subscribe(self, key: ChannelKey, target: RunTarget | GraphTarget | UserTarget) -> None:
        if len(self._session) >= MAX_SUBSCRIPTIONS and key not in self._session:
            self._refuse(f"More than {MAX_SUBSCRIPTIONS} subscriptions on one socket")
        elif not target.opted_in:
            await self._session.subscribe(key)
            self._confirm(_SUBSCRIBING[key.kind], key, None)
        else:
            # Of the socket from now on: who asked for it can read it, whatever becomes of the subscription.
            self._batching = self._batching or target.batch
            if isinstance(target, RunTarget):
                await self._session.subscribe_run(key, target)
            else:
                if len(target.last_event or ()) > MAX_RESUMED:
                    raise msgspec.ValidationError(f"More than {MAX_RESUMED} runs - at `$.last_event`")
                await self._session.subscribe_runs(key, target)

    async def _unsubscribe(self, target: UnsubscribeTarget) -> None:
        named = [
            ChannelKey(self._user_id, kind, given)
            for kind, given in (("run", target.graph_exec_id), ("graph", target.graph_id), ("user", target.user and ""))
            if given is not None
        ]
        if len(named) != 1:
            raise msgspec.ValidationError("Expected one of `graph_exec_id`, `graph_id` and `user`")
        (key,) = named
        # The contract tells whether anybody was subscribed, another socket of the user's too.
        was = await self._session.unsubscribe(key) or self._hub.has(key)
        self._confirm("unsubscribe", key if was else None, None)

    def _is_flood(self) -> bool:
        second = int(monotonic())
        if second != self._second:
            busy = second == self._second + 1 and self._in_second > MAX_MESSAGES_PER_SECOND
            self._busy_seconds = self._busy_seconds + 1 if busy else 0
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._busy_seconds >= PATIENT_SECONDS

    def _confirm(self, method: Method, key: ChannelKey | None, data: Any) -> None:
        channel = None if key is None else str(key)
        self._put(ServerMessage(method=method, success=True, channel=channel, data=data))

    def _refuse(self, reason: str) -> None:
        self._put(ServerMessage(method="error", success=False, error=reason))


def _bytes_of(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
