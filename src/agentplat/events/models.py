"""What travels over the event bus: journal rows as committed, and what is pushed to a user, addressed to their user."""

from msgspec import Struct

# The number of a record that ends a run without a message: the run could not be driven at all.
WITHOUT_MESSAGES = -1


class RunRecord(Struct, frozen=True, kw_only=True):
    """One committed journal row of one run. `seq` is the number of its first message, from 1.

    A record without messages (`seq` 0) announces that the run was accepted. `final` says that nothing follows. `body`
    is None where it was too large for the bus, or values were cut out of it: the journal has it. `published` is when
    the bus took the record, in seconds since the epoch; only records that were read have it.
    """

    user_id: str
    graph_id: str
    run_id: str
    seq: int
    body: bytes | None
    final: bool = False
    published: float | None = None


class Notification(Struct, frozen=True, kw_only=True):
    """Something to show a user at once. `payload` is a JSON object. It is in no journal: who misses it missed it."""

    user_id: str
    payload: bytes
