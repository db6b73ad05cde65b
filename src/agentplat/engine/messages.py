"""What happens to a run, as facts. These are the rows of the journal, the input of the machine and the source of all
events: nothing else about a run's course is stored.

Encoded as JSON arrays, tag first: `["ended", 3, 1700000000000000, …]`. Times are microseconds since the epoch. A field
may be added at the end with a default; nothing is ever renamed, reordered or removed, because old runs are replayed.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

Outputs = list[tuple[str, Any]]


class RunBegan(Struct, frozen=True, array_like=True, tag="began", gc=False):
    """A worker took the run for the first time, or again after it was suspended."""

    at: int


class NodeStarted(Struct, frozen=True, array_like=True, tag="started", gc=False):
    """An activation began that may suspend or has effects. Those that can't are recorded by their end alone.

    `cost` are the credits that were paid for it, in the transaction that wrote this.
    """

    activation: int
    at: int
    cost: int = 0


class NodeYielded(Struct, frozen=True, array_like=True, tag="yielded"):
    """A started activation emitted outputs."""

    activation: int
    at: int
    outputs: Outputs


class NodeEnded(Struct, frozen=True, array_like=True, tag="ended"):
    """An activation finished: completed, or failed where `error` is set.

    `outputs` are those that no `NodeYielded` had carried. `started_at` is set where no `NodeStarted` was recorded.
    """

    activation: int
    at: int
    outputs: Outputs
    error: str | None = None
    started_at: int | None = None
    stats: dict[str, Any] | None = None


class NodeTerminated(Struct, frozen=True, array_like=True, tag="terminated", gc=False):
    """A started activation was cancelled before it finished."""

    activation: int
    at: int


class NodeSuspended(Struct, frozen=True, array_like=True, tag="suspended", gc=False):
    """A started activation waits for a person. `NodeReleased` or `NodeEnded` tells what became of it."""

    activation: int
    at: int


class NodeReleased(Struct, frozen=True, array_like=True, tag="released"):
    """A person let a suspended activation run, with `data` in place of its input where that was edited."""

    activation: int
    at: int
    data: dict[str, Any] | None = None


class NodeRetried(Struct, frozen=True, array_like=True, tag="retried", gc=False):
    """An attempt at a started activation failed with `error`; another one follows, under the same idempotency key."""

    activation: int
    at: int
    error: str


class ToolCalled(Struct, frozen=True, array_like=True, tag="called"):
    """A started activation had a node run that is its tool, and waits for what comes of it. `arguments` are by pin.

    `memo` is what its block needs to go on from here, should it have to begin again.
    """

    activation: int
    at: int
    node: str
    arguments: dict[str, Any]
    memo: Any = None


class MailTaken(Struct, frozen=True, array_like=True, tag="mail", gc=False):
    """The run's mail (outputs of its sub-runs, answers of reviewers) was taken up to and including this number."""

    number: int
    at: int


class RunSuspended(Struct, frozen=True, array_like=True, tag="paused", gc=False):
    """Nothing is left to do until a person answers. `RunBegan` follows when somebody did."""

    at: int


class RunAborted(Struct, frozen=True, array_like=True, tag="aborted", gc=False):
    """No further activation may start: the run was stopped, or (`error`) hit a limit.

    `activation` is the one that hit it: it fails with the error, which is not routed.
    """

    at: int
    error: str | None = None
    activation: int | None = None


class RunEnded(Struct, frozen=True, array_like=True, tag="finished", gc=False):
    """The run is final. Nothing comes after it."""

    at: int


Message = (
    RunBegan
    | NodeStarted
    | NodeYielded
    | NodeEnded
    | NodeTerminated
    | NodeSuspended
    | NodeReleased
    | NodeRetried
    | ToolCalled
    | MailTaken
    | RunSuspended
    | RunAborted
    | RunEnded
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Message])


def encode(messages: Sequence[Message]) -> bytes:
    """The body of one journal row."""
    return _encoder.encode(messages)


def decode(body: bytes) -> list[Message]:
    return _decoder.decode(body)
