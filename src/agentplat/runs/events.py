from msgspec import Struct


class RunRequested(Struct, frozen=True, kw_only=True):
    """A user has started a run. `source` is where; without one nobody is told."""

    user_id: str
    source: str
