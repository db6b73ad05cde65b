"""What one client wants of one channel, and where it stands."""

from typing import Any, Protocol

from litestar.channels import Subscriber

from agentplat.infra.telemetry import get_logger
from agentplat.realtime import metrics
from agentplat.realtime.frames import Chunk
from agentplat.realtime.models import ChannelKey, EventFilter

_log = get_logger(__name__)


class Sink(Protocol):
    """A client's queue. Nothing of it ever waits, but `room`."""

    def offer(self, chunk: Chunk, numbered: bool) -> bool:
        """Take the events. False where they don't fit: then none of them was taken. The last ones of a run come also
        where a filter leaves none of them."""

    def gap(self, subscription: "Subscription", chunk: Chunk) -> None:
        """Tell the client that it misses the events of this chunk and all that follow of its run."""

    def notify(self, payload: str) -> None:
        """Take a notification: a JSON object."""

    async def room(self) -> None:
        """Wait until there is room for more than live events: what is replayed must not push those out."""


class Subscription(Subscriber):
    """The channels plugin's subscriber, without its queue: what it is given goes straight on to the client's own. It
    hears nothing before it has one (`begin`).

    `numbered` is what a client opts into: without it there is only the contract.

    `held` are the runs whose live events are not for this subscription now: those that are being replayed for it, and
    those of which it missed some. `floors` are the runs of which it has the events up to that number already.
    """

    __slots__ = ("begun", "filter", "floors", "held", "key", "numbered", "sink")

    is_running = False  # no task of its own

    def __init__(self, *_: object, **__: object) -> None:
        self.begun = False

    def begin(self, sink: Sink, key: ChannelKey) -> None:
        self.begun = True
        self.sink = sink
        self.key = key
        self.numbered = False
        self.filter: EventFilter | None = None
        self.held: set[str] = set()
        self.floors: dict[str, int] = {}
        metrics.SUBSCRIPTIONS.inc()

    def put_nowait(self, item: Any) -> bool:
        """Take events as they happen. Raises nothing, since that would end the events of everybody."""
        chunk: Chunk = item
        if self.begun:
            try:
                self._deliver(chunk)
            except Exception:
                # The rest of this run's events is kept from this client, who would see a hole.
                _log.exception("events_not_delivered", run_id=chunk.run_id)
                self.held.add(chunk.run_id)
        return True

    def _deliver(self, chunk: Chunk) -> None:
        run_id = chunk.run_id
        if run_id in self.held:
            if chunk.final:
                self.held.discard(run_id)
            return
        if self.floors and (floor := self.floors.get(run_id)) is not None:
            if chunk.last > floor or chunk.final:
                del self.floors[run_id]
            if chunk.last <= floor:
                return
            chunk = chunk.after(floor)
        self.pass_on(chunk)

    def pass_on(self, chunk: Chunk) -> bool:
        """Have the client get these events. If not (False), it hears that it misses them and what follows."""
        wanted = chunk if self.filter is None else chunk.matching(self.filter)
        if not (wanted.events or wanted.final) or self.sink.offer(wanted, self.numbered):
            return True
        if not chunk.final:
            self.held.add(chunk.run_id)
        self.sink.gap(self, chunk)
        return False

    def goes_on(self, run_id: str, number: int, over: bool) -> None:
        """From now on live events of the run are for this subscription, behind `number`; none come if it is over."""
        self.held.discard(run_id)
        if over:
            self.floors.pop(run_id, None)
        else:
            self.floors[run_id] = number
