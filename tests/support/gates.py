"""Nodes that last until a test lets them go on: `GateBlock`, and `BlockingBlock` after its first output."""

from pathlib import Path


class Gate:
    """Closed until it is opened, in whatever process a node waits for it at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.path = str(path)

    def open(self) -> None:
        self._path.touch()
