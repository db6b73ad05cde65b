"""What things cost. Pure decisions; the execution fee is decided where its counter is, in `queries`."""

from collections.abc import Iterable, Mapping
from typing import Any

from agentplat.credits.models import Cost
from agentplat.sdk.spec import CostEntry

# So many node executions cost one credit, whatever their blocks cost.
EXECUTIONS_PER_CREDIT = 100

FREE = Cost(amount=0)


def cost_of(costs: Iterable[CostEntry], data: Mapping[str, Any], seconds: float = 0.0, size: int = 0) -> Cost:
    """The cost of a node with input `data`: the first entry that matches decides, also over dearer ones behind it.

    Who charges before the node runs knows neither its time nor its size, so entries by second and byte cost nothing.
    """
    for entry in costs:
        if _matches(entry.cost_filter, data):
            quantity = {"run": 1, "second": seconds, "byte": size}[entry.cost_type]
            return Cost(amount=int(quantity * entry.cost_amount), cost_filter=entry.cost_filter)
    return FREE


def credits_of(cents: int, amount: int, paid: int, taken: int) -> int:
    """How many of a payment's credits go when so many cents of what was `paid` go back: in proportion, as discounts
    give more credits than cents, rounded up, and with those `taken` before not more than the payment's `amount`.
    """
    wanted = -(-cents * amount // paid) if paid else amount
    return max(0, min(wanted, amount - taken))


def _matches(wanted: Any, given: Any) -> bool:
    """Whether `given` has all that `wanted` has, at any depth. Null, false, 0, empty and absent are all the same."""
    if not isinstance(wanted, Mapping) or not isinstance(given, Mapping):
        return bool(wanted == given)
    return all(_matches(value, given[name]) if given.get(name) else not value for name, value in wanted.items())
