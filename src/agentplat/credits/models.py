from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct


class TransactionType(StrEnum):
    TOP_UP = "TOP_UP"
    USAGE = "USAGE"
    GRANT = "GRANT"
    REFUND = "REFUND"
    CARD_CHECK = "CARD_CHECK"


class Cost(Struct, frozen=True, kw_only=True):
    """What one execution of a node costs, and the filter of the price list's entry that says so."""

    amount: int
    cost_filter: dict[str, Any] = {}


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was paid for, as the ledger keeps it."""

    graph_exec_id: str | None = None
    graph_id: str | None = None
    node_exec_id: str | None = None
    node_id: str | None = None
    block_id: str | None = None
    block: str | None = None
    input: dict[str, Any] | None = None
    reason: str | None = None


class Charge(Struct, frozen=True, kw_only=True):
    """Something to be paid once, however often it is asked for: `key` tells one charge of a user from another.

    `executions` is how many node executions it adds to those that the execution fee is taken for.
    """

    key: str
    amount: int
    executions: int = 0
    usage: Usage = Usage()


class Shortage(Struct, frozen=True, kw_only=True):
    """A charge that was refused: what the balance was, and what it would have had to cover."""

    balance: int
    cost: int


class Booking(Struct, frozen=True, kw_only=True):
    """What became of a row for the ledger: written now (`booked`), there already (`known`), or refused."""

    balance: int
    booked: bool
    known: bool


class Transaction(Struct, frozen=True, kw_only=True):
    """A row of the ledger."""

    transaction_key: str
    amount: int
    type: TransactionType
    running_balance: int
    metadata: dict[str, Any]
    created_at: datetime
