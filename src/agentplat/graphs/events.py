from msgspec import Struct


class GraphSaved(Struct, frozen=True, kw_only=True):
    """A user has made a graph. `source` is where, if the client says so."""

    user_id: str
    source: str | None
