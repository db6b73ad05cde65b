"""What may be in a run's mail."""

from typing import Any

from msgspec import Struct

from agentplat.engine.messages import Outputs
from agentplat.engine.state import Status


class SubRunOutput(Struct, frozen=True, tag="output"):
    """An output node of the sub-run behind `activation` has finished."""

    activation: int
    name: str
    values: list[Any]


class SubRunEnded(Struct, frozen=True, tag="ended"):
    """The sub-run is final; nothing more comes of it."""

    activation: int
    status: Status
    node_count: int
    cost: int


class NodeReported(Struct, frozen=True, tag="node"):
    """What an attempt at an isolated node has emitted; where it is `over`, that it ended, and how. `attempt` counts the
    failed ones before it. `interrupted`: nobody knows how it ended."""

    activation: int
    attempt: int
    outputs: Outputs = []
    over: bool = False
    error: str | None = None
    stats: dict[str, Any] | None = None
    interrupted: bool = False


class ReviewAnswered(Struct, frozen=True, tag="answered"):
    """A reviewer has decided. `data` is what was reviewed, with the reviewer's changes."""

    activation: int
    approved: bool
    data: Any
    edited: bool
    message: str


Letter = SubRunOutput | SubRunEnded | NodeReported | ReviewAnswered


class Addressed(Struct, frozen=True):
    """A letter and the run that it is for."""

    run_id: str
    letter: Letter
