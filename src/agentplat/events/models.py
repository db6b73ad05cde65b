"""What travels over the event bus: journal rows as committed, addressed to their user and graph."""

from msgspec import Struct

# The number of a record that ends a run without a message: the run could not be driven at all.
WITHOUT_MESSAGES = -1


class RunRecord(Struct, frozen=True, kw_only=True):
    """One committed journal row of one run. `seq` is the number of its first message, from 1.

    A record without messages (`seq` 0) announces that the run was accepted. `final` says that nothing follows.
    A row with `handles` is not whole: values that are too big for a stream stand elsewhere, where the runs find them.
    """

    user_id: str
    graph_id: str
    run_id: str
    seq: int
    body: bytes
    handles: bytes | None = None
    final: bool = False
