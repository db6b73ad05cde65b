from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct

from agentplat.infra.paging import Pagination


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


# --- paying


class PaymentKind(StrEnum):
    """By a page of Stripe's, or with a stored card: at the user's wish or by itself."""

    CHECKOUT = "CHECKOUT"
    TOP_UP = "TOP_UP"
    AUTO_TOP_UP = "AUTO_TOP_UP"


class Payment(Struct, frozen=True, kw_only=True):
    """Credits (`amount`) that `paid` cents were, or are to be, paid for."""

    id: str
    user_id: str
    kind: PaymentKind
    amount: int
    paid: int
    session_id: str | None
    intent_id: str | None
    attempts: int
    created_at: datetime

    @property
    def key(self) -> str:
        """Under which the ledger has it, once it is paid."""
        return self.intent_id or self.session_id or self.id


class ReversalState(StrEnum):
    """A dispute that is not decided; what the payer gets back; what stays with us after all. In this order only."""

    OPEN = "OPEN"
    TAKEN = "TAKEN"
    RETURNED = "RETURNED"


class Reversal(Struct, frozen=True, kw_only=True):
    """A refund or dispute of `amount` cents, and the `credits` that it took from the balance."""

    id: str
    intent_id: str
    amount: int
    state: ReversalState
    credits: int = 0
    conceded: bool | None = None
    answered: bool = False


class RefundRequest(Struct, frozen=True, kw_only=True):
    """The contract's RefundRequest."""

    id: str
    user_id: str
    transaction_key: str
    amount: int
    reason: str
    result: str | None = None
    status: str
    created_at: datetime
    updated_at: datetime


class RequestTopUp(Struct, frozen=True, kw_only=True):
    """How many credits to buy: at least 500, in hundreds."""

    # As it is described: other amounts are a 400, and not what a type that is wrong is.
    credit_amount: Annotated[int, Meta(extra_json_schema={"extra": {"minimum": 500, "multiple_of": 100}})]


class CheckoutUrl(Struct, frozen=True, kw_only=True):
    """Where to pay."""

    checkout_url: str


class AutoTopUpConfig(Struct, frozen=True, kw_only=True):
    """Buy `amount` credits whenever the balance comes below `threshold`. An amount of 0 switches it off."""

    amount: int
    threshold: int


# --- the history, as the contract has it

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


class UserTransaction(Struct, frozen=True, kw_only=True):
    """What moved the balance: all that one run has cost so far, or a single row of the ledger."""

    transaction_key: str = ""
    transaction_time: datetime = _NEVER
    transaction_type: TransactionType = TransactionType.USAGE
    amount: int = 0
    running_balance: int = 0
    current_balance: int = 0
    description: str | None = None
    usage_graph_id: str | None = None
    usage_execution_id: str | None = None
    usage_node_count: int = 0
    usage_start_time: datetime = _LAST
    user_id: str
    user_email: str | None = None
    reason: str | None = None
    admin_email: str | None = None
    extra_data: str | None = None


class TransactionHistory(Struct, frozen=True, kw_only=True):
    """Newest first. `next_transaction_time` is what to ask for to get what is older, null at the end."""

    transactions: list[UserTransaction]
    next_transaction_time: datetime | None


class UserHistoryResponse(Struct, frozen=True, kw_only=True):
    """A page of everybody's ledger, newest first."""

    history: list[UserTransaction]
    pagination: Pagination


class AddCredits(Struct, frozen=True, kw_only=True):
    """Give a user credits, or take some with a negative amount. `comments` says why."""

    user_id: str
    amount: int
    comments: str


class AddUserCreditsResponse(Struct, frozen=True, kw_only=True):
    new_balance: int
    transaction_key: str
