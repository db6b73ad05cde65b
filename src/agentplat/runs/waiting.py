"""Who waits for the end of a run is woken by the event of it, never by asking the database again and again.

One tail of the event streams per process, whatever the number of waiters, and only while there are any. A waiter is
entered first and reads the run's row after, so an end that comes in between is not missed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from time import monotonic

from agentplat.events import service as events
from agentplat.infra.telemetry import get_logger
from agentplat.runs import queries

# How long the tail is kept after the last waiter, so that a client that starts one run after the other finds it there.
LINGER_SECONDS = 10.0

_log = get_logger(__name__)


class Waiting:
    """Use as `async with Waiting() as waiting`. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._left_at = 0.0

    async def __aenter__(self) -> "Waiting":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let everybody go: they answer with the state that there is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for run_id in list(self._waiters):
            self._wake(run_id)

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiters.values()))

    @contextmanager
    def expecting(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the run is final. Read the run after entering: it may be so already."""
        over = asyncio.Event()
        self._waiters.setdefault(run_id, set()).add(over)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow(), name="waiting")
        try:
            yield over
        finally:
            waiters = self._waiters[run_id]
            waiters.discard(over)
            if not waiters:
                del self._waiters[run_id]
            self._left_at = monotonic()

    async def _follow(self) -> None:
        async with aclosing(events.tail()) as batches:
            async for records in batches:
                if not records:
                    await self._look_for_missed()
                for record in records:
                    if record.final:
                        self._wake(record.run_id)
                if not self._waiters and monotonic() - self._left_at > LINGER_SECONDS:
                    return

    async def _look_for_missed(self) -> None:
        """The tail has just begun, or was interrupted: runs may have ended unheard. One statement for all of them."""
        try:
            for run_id in await queries.find_final(list(self._waiters)):
                self._wake(run_id)
        except Exception as error:
            # The database is away as well. Who waits asks it anyway when the time is over.
            _log.warning("ends_not_looked_for", runs=len(self._waiters), reason=str(error))

    def _wake(self, run_id: str) -> None:
        for over in self._waiters.get(run_id, ()):
            over.set()


_waiting: Waiting | None = None


@asynccontextmanager
async def hearing_ends() -> AsyncIterator[Waiting]:
    """Have this process hear of the ends of runs while the block runs. Redis and the database must be open."""
    global _waiting
    async with Waiting() as _waiting:
        try:
            yield _waiting
        finally:
            _waiting = None


def waiting() -> Waiting:
    if _waiting is None:
        raise RuntimeError("Nobody hears of the ends of runs here: open hearing_ends() first")
    return _waiting
