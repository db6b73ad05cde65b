"""What a client missed, and the step from there to what is happening.

A replay first takes from the run's latest events, and where they don't go back far enough from the journal. It ends in
one piece of code without an await: the events up to the run's newest are queued, and the subscription is set to go on
behind that number. Live events of the run only come about in other pieces of code, so there is none in between, and
none twice: those up to the number, which may be on their way, are left out by the subscription's floor.
"""

import asyncio
from time import monotonic

from agentplat.engine.state import FINAL
from agentplat.realtime.errors import EventsGone
from agentplat.realtime.fold import Fold, Keep
from agentplat.realtime.frames import Chunk, Event, chunked
from agentplat.realtime.subscription import Subscription
from agentplat.realtime.watch import ROWS_AT_ONCE, SLICE_SECONDS, WatchedRun
from agentplat.runs import service as runs


class Replay:
    """Of one run, for one subscription that holds the run back until this is done. The run must be held by the hub.

    `number` is that of the last event that the client has.
    """

    def __init__(self, watched: WatchedRun, subscription: Subscription, number: int) -> None:
        self._watched = watched
        self._subscription = subscription
        self.number = number
        self._fold: Fold | None = None

    async def run(self) -> bool:
        """True once live events follow; False where the client was too slow even for this, which it was told.

        Raises EventsGone where the journal doesn't have them any more.
        """
        watched, subscription = self._watched, self._subscription
        while True:
            await subscription.sink.room()
            # No await from here to the return.
            recent = watched.recent(self.number)
            if recent is not None or watched.number <= self.number:
                for chunk in self._chunks(recent or [], watched.number, watched.over):
                    if not subscription.pass_on(chunk):
                        return False
                subscription.goes_on(watched.run_id, max(self.number, watched.number), watched.told)
                return True
            if not await self._read():
                return False

    async def _read(self) -> bool:
        """Take the next rows of the journal."""
        watched = self._watched
        fold = self._fold
        before = 0 if fold is None else fold.number
        if fold is None:
            row = await runs.find(watched.run_id)
            if row is None:
                raise EventsGone
            fold = self._fold = await Fold.open(row)
            fold.keep_after = self.number
            if not await self._pass_on(fold.begin(Keep.ALL), fold.number):
                return False
        began = monotonic()
        for one in await runs.read_rows(fold.row, fold.row_seq, ROWS_AT_ONCE):
            for events in fold.feed(one.seq, one.body, Keep.ALL):
                if not await self._pass_on(events, fold.number, fold.final):
                    return False
                if monotonic() - began > SLICE_SECONDS:
                    await asyncio.sleep(0)
                    began = monotonic()
        if fold.number == before and not fold.final:
            await self._end(fold)
        return True

    async def _end(self, fold: Fold) -> None:
        """The journal goes no further. The run may have ended without a message."""
        row = await runs.find(fold.row.id)
        if row is None or row.status not in FINAL or (row.node_executions is not None and fold.machine is not None):
            raise EventsGone
        await self._pass_on(fold.end(row, Keep.ALL), fold.number, True)

    async def _pass_on(self, events: list[Event], last: int, final: bool = False) -> bool:
        """As fast as the client takes them: a single message of the journal may make more than its queue holds."""
        for chunk in self._chunks(events, last, final):
            await self._subscription.sink.room()
            if not self._subscription.pass_on(chunk):
                return False
        return True

    def _chunks(self, events: list[Event], last: int, final: bool) -> list[Chunk]:
        """Those of the events that the client doesn't have."""
        before, self.number = self.number, max(self.number, last)
        events = [event for event in events if event.number > before]
        if not events:
            return []
        key = self._subscription.key
        shown = events if key.kind == "run" else [event for event in events if event.node_id is None]
        return chunked(key, self._watched.run_id, before, shown, last, final)
