"""What waits to be sent on one socket, bounded in messages and bytes."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from time import time

from agentplat.realtime import metrics
from agentplat.realtime.frames import Text

# What a client may lag behind.
MAX_MESSAGES = 20_000
MAX_BYTES = 32 * 1024 * 1024
# Up to here there is room for more than what happens now.
ROOM_MESSAGES = 2_000
ROOM_BYTES = 4 * 1024 * 1024
# What one frame of several messages may have; a message is never cut.
FRAME_MESSAGES = 256
FRAME_BYTES = 512 * 1024


class Outbox:
    """`filled` is called whenever something was added. Thousands of these are empty most of the time, so what only a
    busy one needs is made then, the queue itself too."""

    __slots__ = ("_bytes", "_filled", "_messages", "_room", "_texts")

    def __init__(self, filled: Callable[[], None]) -> None:
        self._texts: deque[Text] | None = None
        self._messages = 0
        self._bytes = 0
        self._filled = filled
        self._room: asyncio.Event | None = None

    def __bool__(self) -> bool:
        return bool(self._texts)

    def fits(self, count: int, size: int) -> bool:
        """Whether that may be added. A single message always fits into an empty one."""
        return not self._texts or (self._messages + count <= MAX_MESSAGES and self._bytes + size <= MAX_BYTES)

    def add(self, texts: Iterable[Text], count: int, size: int) -> None:
        if self._texts is None:
            self._texts = deque()
        self._texts.extend(texts)
        self._messages += count
        self._bytes += size
        self._filled()

    def take(self, several: bool) -> Text:
        """What goes into the next frame."""
        waiting = self._texts
        assert waiting
        first = waiting.popleft()
        count, size = first.count, first.size
        taken = [first.text]
        while several and waiting:
            following = waiting[0]
            if count + following.count > FRAME_MESSAGES or size + following.size > FRAME_BYTES:
                break
            waiting.popleft()
            taken.append(following.text)
            count, size = count + following.count, size + following.size
        if not waiting:
            self._texts = None
        self._messages -= count
        self._bytes -= size
        if self._room is not None and self._has_room:
            self._room.set()
            self._room = None
        text = f"[{','.join(taken)}]" if several and count > 1 else first.text
        return Text(text, count, size, first.published)

    @property
    def _has_room(self) -> bool:
        return self._messages <= ROOM_MESSAGES and self._bytes <= ROOM_BYTES

    async def room(self) -> None:
        while not self._has_room:
            self._room = self._room or asyncio.Event()
            await self._room.wait()


def observe(published: float | None) -> None:
    """Note how long it took until now. Sampled by whoever sends, for each look costs as much as some events."""
    if published is not None:
        metrics.LAG.observe(max(0.0, time() - published))
