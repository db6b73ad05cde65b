"""Events as they go to clients. An event's data is encoded once, and a text made of it once per channel and form."""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import msgspec
from msgspec import Struct

from agentplat.realtime.models import NODE_EVENT, RUN_EVENT, ChannelKey, EventFilter

# What is handed to sockets at once, so that queues are bounded finely and frames of several messages stay small.
CHUNK_EVENTS = 64
CHUNK_BYTES = 256 * 1024

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class Event(Struct, frozen=True, gc=False):
    """A contract event of a run: its number, and its `data` as JSON, `size` bytes long. Of a run if it has no node."""

    number: int
    node_id: str | None
    data: str
    size: int

    @property
    def kind(self) -> str:
        return RUN_EVENT if self.node_id is None else NODE_EVENT


class Text(Struct, frozen=True, gc=False):
    """What is sent, or joined with others into one frame: `count` messages of JSON with commas between them."""

    text: str
    count: int
    size: int
    published: float | None = None


class Chunk:
    """Consecutive events of one run on one channel; `before` is the number of the last event that precedes them.

    `published` is when their journal row was (seconds since the epoch); None for what is replayed.
    """

    __slots__ = ("_made", "before", "events", "final", "key", "last", "published", "run_id", "size")

    def __init__(
        self,
        key: ChannelKey,
        run_id: str,
        before: int,
        events: Sequence[Event],
        last: int,
        final: bool = False,
        published: float | None = None,
    ) -> None:
        self.key = key
        self.run_id = run_id
        self.before = before
        self.events = events
        self.last = last  # of the run, which may be an event of a kind that this channel doesn't have
        self.final = final
        self.published = published
        self.size = sum(event.size for event in events)
        self._made: dict[object, object] = {}

    def texts(self, numbered: bool) -> list[Text]:
        """One text for each event."""
        return self._once((0, numbered), lambda: self._texts(numbered))

    def joined(self, numbered: bool) -> Text:
        """All events in one text."""
        return self._once((1, numbered), lambda: self._joined(self.texts(numbered)))

    def lines(self) -> str:
        """All events in the form of server-sent events."""
        return self._once(2, lambda: "".join([f"id: {event.number}\n{event_lines(event)}" for event in self.events]))

    def matching(self, wanted: EventFilter) -> "Chunk":
        return self._once(wanted, lambda: self._with(lambda one: wanted.lets_pass(one.kind, one.node_id)))

    def after(self, number: int) -> "Chunk":
        """Without the events up to `number`."""
        rest = self._with(lambda event: event.number > number)
        rest.before = max(self.before, number)
        return rest

    def _with(self, wanted: Callable[[Event], bool]) -> "Chunk":
        events = [event for event in self.events if wanted(event)]
        return Chunk(self.key, self.run_id, self.before, events, self.last, self.final, self.published)

    def _once(self, form: object, make: Callable[[], T]) -> T:
        made = self._made.get(form)
        if made is None:
            made = self._made[form] = make()
        return cast("T", made)

    def _texts(self, numbered: bool) -> list[Text]:
        tail = f',"success":null,"channel":{_encode(str(self.key)).decode()},"error":null'
        return [
            Text(
                f'{{"method":"{event.kind}","data":{event.data}{tail}'
                + (f',"seq":{event.number}}}' if numbered else "}"),
                1,
                event.size,
                self.published,
            )
            for event in self.events
        ]

    def _joined(self, texts: list[Text]) -> Text:
        if len(texts) == 1:
            return texts[0]
        return Text(",".join([one.text for one in texts]), len(texts), self.size, self.published)


def chunked(
    key: ChannelKey,
    run_id: str,
    before: int,
    events: Sequence[Event],
    last: int,
    final: bool = False,
    published: float | None = None,
) -> list[Chunk]:
    """Events in chunks of bounded size. The last one has the number up to which the run has come."""
    chunks: list[Chunk] = []
    start = size = 0
    for place, event in enumerate(events):
        if place > start and (place - start == CHUNK_EVENTS or size + event.size > CHUNK_BYTES):
            part = events[start:place]
            chunks.append(Chunk(key, run_id, before, part, part[-1].number, published=published))
            start, size, before = place, 0, part[-1].number
        size += event.size
    chunks.append(Chunk(key, run_id, before, events[start:], last, final, published))
    return chunks


def event_lines(event: Event) -> str:
    """A server-sent event without its id."""
    # JSON has no line breaks outside of strings, and in strings they are escaped.
    return f"event: {event.kind}\ndata: {event.data}\n\n"
