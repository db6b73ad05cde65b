"""The event socket: connected as often as it has to be."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from agentplat.client.errors import ConnectionLost, Refused
from agentplat.client.models import Frame
from agentplat.client.patience import Patience, unreachable

# The close codes of a token that is no good.
TOKEN_REFUSED = range(4001, 4004)
# Frames that may wait here for a slow consumer. Then the platform's own queue fills, and it says where to resume.
MAX_QUEUE = 1024
# Who leaves while frames wait reads no more of them, nor the answer to a close behind them.
CLOSE_SECONDS = 1.0

E = TypeVar("E", covariant=True)

_frames = msgspec.json.Decoder(Frame | list[Frame])


class Hole(Exception):
    """An event is missing before this one: it has to be asked for again."""


class Watch(Protocol[E]):
    """What somebody wants to see, over any number of connections."""

    over: bool

    def events(self, socket: ClientConnection, patience: Patience) -> AsyncGenerator[E, None]:
        """Subscribe, and yield what comes until the connection or the watch ends."""


class EventSocket:
    """Connects as often as it has to. `proxied`: whether a proxy of the environment applies."""

    def __init__(self, url: str, token: str, proxied: bool, patience: float) -> None:
        parts = urlsplit(url)
        scheme = {"https": "wss", "http": "ws"}.get(parts.scheme, parts.scheme)
        self._url = url
        self._address = urlunsplit((scheme, parts.netloc, f"{parts.path}/ws", "", ""))
        self._token = token
        self._proxied = proxied
        self._patience = Patience(patience)

    async def follow(self, watch: Watch[E]) -> AsyncGenerator[E, None]:
        """What `watch` makes of every connection, one after another, until it is over."""
        while not watch.over:
            try:
                async with self._connect() as socket, aclosing(watch.events(socket, self._patience)) as events:
                    async for event in events:
                        yield event
                failure = ConnectionLost(f"{self._url} closed the event socket")
            except (OSError, WebSocketException, msgspec.DecodeError, Hole) as error:
                if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code in TOKEN_REFUSED:
                    raise Refused(401, f"Invalid token: {error.rcvd.reason}", "unauthenticated") from error
                failure = _explained(self._url, error)
            if not watch.over:
                await self._patience.after(failure)

    def _connect(self) -> connect:
        return connect(
            self._address,
            # Not in the URL, where logs would keep it.
            subprotocols=[Subprotocol("agentplat"), Subprotocol(f"bearer.{self._token}")],
            max_size=None,  # an event carries all of a run's outputs, so it may be of any size
            max_queue=MAX_QUEUE,
            close_timeout=CLOSE_SECONDS,
            compression=None,
            proxy=True if self._proxied else None,
        )


def _explained(url: str, error: Exception) -> ConnectionLost:
    if isinstance(error, InvalidHandshake | msgspec.DecodeError):
        return ConnectionLost(f"The event socket of {url} can't be used: {error}")
    return unreachable(url, error)


def frames(text: str | bytes) -> list[Frame]:
    decoded = _frames.decode(text)
    return decoded if isinstance(decoded, list) else [decoded]


def refused(frame: Frame) -> Refused:
    missing = "no such" in (frame.error or "").lower()
    return Refused(404 if missing else 400, str(frame.error), "not_found" if missing else "refused")
