"""How long something was at work, over any number of pauses."""


class Stopwatch:
    """Times are in one unit, whichever that is."""

    __slots__ = ("_measured", "_since")

    def __init__(self) -> None:
        self._measured = 0
        self._since: int | None = None

    def start(self, at: int) -> None:
        self._since = at

    def stop(self, at: int) -> None:
        """Where it stands still already, it stays as it is."""
        self._measured, self._since = self.read(at), None

    def read(self, now: int) -> int:
        return self._measured if self._since is None else self._measured + now - self._since
