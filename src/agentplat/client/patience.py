"""For how long a client tries again."""

import asyncio
from time import monotonic

from agentplat.client.errors import ClientError, ConnectionLost, GaveUp

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Patience:
    """Counts from the first failure after a success. Without any, the first failure is final."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """Something has worked."""
        self._until: float | None = None
        self._pause = FIRST_PAUSE

    async def after(self, failure: ClientError) -> None:
        """Sleep a while, each time longer; or raise, when the time is over."""
        if not self._seconds:
            raise failure
        now = monotonic()
        self._until = self._until or now + self._seconds
        if now + self._pause > self._until:
            raise GaveUp(f"{failure} (tried again for {self._seconds:g} s)") from failure
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def unreachable(url: str, error: BaseException) -> ConnectionLost:
    return ConnectionLost(f"No platform answers at {url}: {str(error) or type(error).__name__}")
