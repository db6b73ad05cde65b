"""A node's activations within one run, and how arriving values find theirs."""

from collections import deque
from typing import Any

from agentplat.engine.activation import Activation
from agentplat.engine.plan import PlanNode
from agentplat.engine.state import Status


class Place:
    """A node's activations in this run."""

    __slots__ = ("incomplete", "inflight", "latest", "waiting")

    def __init__(self, node: PlanNode) -> None:
        self.incomplete: dict[int, Activation] = {}
        self.inflight: deque[Activation] = deque()
        self.latest: Activation | None = None
        # Per pin, in order: the activations that began without it. Entries whose activation has been queued since are
        # dropped when they are met. One pin alone never waits.
        self.waiting: dict[str, deque[Activation]] = (
            {name: deque() for name in node.linked} if len(node.linked) > 1 else {}
        )

    def lacking(self, pin: str) -> Activation | None:
        """The oldest incomplete activation without a value for `pin`. It is taken to get one."""
        waiting = self.waiting.get(pin)
        while waiting:
            act = waiting.popleft()
            if act.status is Status.INCOMPLETE:
                return act
        return None

    def add(self, act: Activation, pin: str) -> None:
        """An activation that began with a value for `pin`."""
        self.incomplete[act.number] = act
        for name, waiting in self.waiting.items():
            if name != pin:
                waiting.append(act)

    def static_values(self, node: PlanNode) -> dict[str, Any]:
        """The latest value of each static pin that has one, also where it still waits for its first use."""
        known = dict(self.latest.data or {}) if self.latest is not None else {}
        for act in self.incomplete.values():
            known |= act.received
        return {name: known[name] for name in node.static_pins if name in known}


def filled(act: Activation, source: dict[str, Any] | None) -> dict[str, Any]:
    """What arrived, with the static pins that are lacking taken from another activation's assembled input."""
    data = act.received
    missing = [name for name in act.node.static_pins if name not in data and name not in act.omitted]
    if not missing:
        return data
    source = source or {}
    return {**data, **{name: source.get(name) for name in missing}}


def assembled(
    act: Activation, data: dict[str, Any], mask: dict[str, Any] | None, *, skipped: bool
) -> dict[str, Any] | None:
    """The block's input from `data`, or None where a linked pin lacks its value or the block can't take it so.

    A pin that was left out lacks nothing: its constant holds, or the block's default. Where the node is skipped, no
    block has to take it: what is missing may be the very reason.
    """
    node, omitted = act.node, act.omitted
    if mask:
        data = {**data, **mask}
    if len(data) + len(omitted) < len(node.needed):
        return None
    for name in node.needed:
        if name not in data and name not in omitted:
            return None
    result = node.assembler.assemble(data, plain=not (mask or omitted))
    if not isinstance(result, str):
        return result
    return {**node.constants, **data} if skipped else None
