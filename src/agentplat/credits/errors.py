from agentplat.credits.models import Shortage
from agentplat.infra.errors import Conflict, NotFound, PaymentRequired


class InsufficientBalance(PaymentRequired):
    """The balance does not cover this."""

    code = "insufficient_balance"

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(
            f"Insufficient balance of ${_dollars(shortage.balance)}, where this will cost ${_dollars(shortage.cost)}"
        )
        self.shortage = shortage


class UnknownUser(NotFound):
    """There is no such user."""


class KeyReused(Conflict):
    """This transaction key stands for another amount already."""


def _dollars(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
