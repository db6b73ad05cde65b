from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentplat.credits import rules
from agentplat.credits.errors import BalanceTooLow, InsufficientBalance, KeyReused
from agentplat.credits.models import Charge, Cost, Shortage, Transaction, TransactionType, Usage
from agentplat.credits.queries import ledger as queries
from agentplat.infra.clock import now
from agentplat.infra.settings import get_settings
from agentplat.sdk.spec import CostEntry

# What everybody seems to own while credits are switched off: enough for every check of "is anything left".
DISABLED_BALANCE = 100

# For runs, which pay within statements of their own, because a node's start and its price, and a run's end and its fee,
# must be recorded together: SQL that fits into those statements, its parameters, and the repetition it needs.
SPEND_CTES = queries.SPEND_CTES
charge_columns = queries.charge_columns
once = queries.once


def enabled() -> bool:
    return get_settings().enable_credit


async def balance(user_id: str) -> int:
    if not enabled():
        return DISABLED_BALANCE
    if refill := get_settings().monthly_credits:
        return await queries.refilled_balance(user_id, refill, f"{now():%Y-%m}")
    return await queries.balance(user_id)


async def refill(user_id: str) -> None:
    """See to it that the month's refill is done. Whoever gives credits does so first, and what they give comes on top:
    else it would only make the refill smaller, depending on when somebody looks."""
    if enabled() and get_settings().monthly_credits:
        await balance(user_id)


async def history(user_id: str, limit: int = 100) -> list[Transaction]:
    """What moved the balance, the newest first."""
    return await queries.list_of_user(user_id, limit) if enabled() else []


async def grant(user_id: str, amount: int, key: str, reason: str) -> int:
    """Give credits, once per key. Returns the new balance."""
    if not enabled():
        return DISABLED_BALANCE
    metadata = msgspec.json.encode(Usage(reason=reason))
    return (await queries.add(user_id, amount, key, TransactionType.GRANT, metadata)).balance


async def reward(user_id: str, step: str, amount: int) -> bool:
    """Give what a step of the onboarding is worth, once per user and step. Whether this call is the one that gave it.

    While credits are switched off nothing is given, and nothing is owed later.
    """
    if not enabled() or amount <= 0:
        return False
    await refill(user_id)
    metadata = msgspec.json.encode(Usage(reason=f"Reward for completing {step} onboarding step."))
    try:
        booking = await queries.add(user_id, amount, f"REWARD-{user_id}-{step}", TransactionType.GRANT, metadata)
    except KeyReused:
        return False  # it was worth something else when it was given
    return booking.booked


async def grant_by_admin(admin_id: str, user_id: str, amount: int, comments: str, key: str) -> int:
    """Give or take credits on an administrator's word, once per key, also while credits are switched off. Returns the
    new balance; raises BalanceTooLow rather than leave a debt.
    """
    await refill(user_id)
    metadata = msgspec.json.encode({"admin_id": admin_id, "reason": comments})
    least = 0 if amount < 0 else None
    booking = await queries.add(user_id, amount, key, TransactionType.GRANT, metadata, least)
    if not booking.booked and not booking.known:
        raise BalanceTooLow(Shortage(balance=booking.balance, cost=-amount))
    return booking.balance


async def spend(user_id: str, charge: Charge) -> int:
    """Take a charge, once per key. Returns the new balance; raises InsufficientBalance and takes nothing."""
    if not enabled():
        return DISABLED_BALANCE
    result = await queries.spend(user_id, charge)
    if isinstance(result, Shortage):
        raise InsufficientBalance(result)
    return result


def cost_of(costs: Iterable[CostEntry], data: Mapping[str, Any]) -> Cost:
    """What a node with this input costs at its start."""
    return rules.cost_of(costs, data) if enabled() else rules.FREE


def node_charge(
    cost: Cost, run_id: str, graph_id: str, node_exec_id: str, node_id: str, block_id: str, block: str
) -> Charge:
    """The charge for one start of a node: its block's price, and one execution towards the fee."""
    return Charge(
        key=node_exec_id,
        amount=cost.amount,
        executions=1,
        usage=Usage(
            graph_exec_id=run_id,
            graph_id=graph_id,
            node_exec_id=node_exec_id,
            node_id=node_id,
            block_id=block_id,
            block=block,
            input=cost.cost_filter,
            reason=f"Ran block {block_id} {block}",
        ),
    )


def block_charge(cost: Cost, key: str, block_id: str, block: str) -> Charge:
    """The same for a block that is executed by hand."""
    usage = Usage(block_id=block_id, block=block, input=cost.cost_filter, reason=f"Ran block {block_id} {block}")
    return Charge(key=key, amount=cost.amount, executions=1, usage=usage)


def executions_charge(run_id: str, graph_id: str, executions: int) -> Charge:
    """For the end of a run: its executions that no charge has counted. Never refused, and never to be repeated: it goes
    into the statement that records the end, which happens once.
    """
    return Charge(
        key=f"{run_id}-executions",
        amount=0,
        executions=executions,
        usage=Usage(graph_exec_id=run_id, graph_id=graph_id),
    )


async def note_shortage(user_id: str, graph_id: str) -> bool:
    """Whether the user is to be told that a run of the graph ran out of credits: once until there are new ones."""
    return await queries.note_shortage(user_id, graph_id)
