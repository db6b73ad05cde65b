from agentplat.credits.models import Shortage
from agentplat.infra.errors import (
    AppError,
    BadRequest,
    Conflict,
    Invalid,
    NotFound,
    PaymentRequired,
    Unavailable,
)


class InsufficientBalance(PaymentRequired):
    """The balance does not cover this."""

    code = "insufficient_balance"

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(_text(shortage))
        self.shortage = shortage


class BalanceTooLow(BadRequest):
    """An administrator asks for more than somebody has. Nobody has to pay for that, so it is no 402."""

    code = "insufficient_balance"

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(_text(shortage))


class UnknownUser(NotFound):
    """There is no such user."""


class KeyReused(Conflict):
    """This transaction key stands for another amount already."""

    code = "transaction_key_reused"


class ValueInvalid(Invalid):
    """A number or text outside of what an operation takes."""

    def __init__(self, message: str, *loc: str) -> None:
        problem = {"type": "value_error", "loc": list(loc), "msg": message}
        super().__init__(f"{'.'.join(loc)}: {message}", detail=[problem])


# --- paying


class PaymentsNotConfigured(Conflict):
    """Payments are not set up on this server."""

    code = "payments_not_configured"

    def __init__(self, variable: str) -> None:
        super().__init__(hint=f"Whoever runs this server has to set {variable}.")


class PaymentsUnavailable(Unavailable):
    """The payment service can't be reached right now. Nothing is charged twice if you try again."""

    code = "payments_unavailable"


class PaymentsRefused(AppError):
    """The payment service refuses what this server asks for."""

    status = 503
    code = "payments_refused"


class CardMissing(BadRequest):
    """No card is stored with the payment service. Pay once by checkout, or add one in the billing portal."""

    code = "no_card"


class CardDeclined(BadRequest):
    """None of your cards was accepted."""

    code = "card_declined"


class TopUpInProgress(Conflict):
    """Your card is being charged already."""

    code = "top_up_in_progress"


class TopUpNotFound(NotFound):
    """There is no such top-up."""

    code = "top_up_not_found"


class NothingToRefund(BadRequest):
    """Nothing of this top-up is left to be refunded."""

    code = "nothing_to_refund"


class RefundRefused(Conflict):
    """The payment service refuses this refund."""

    code = "refund_refused"


class EventInvalid(BadRequest):
    """This is no event with a valid signature of the payment service."""

    code = "invalid_event"


def _text(shortage: Shortage) -> str:
    return f"Insufficient balance of ${_dollars(shortage.balance)}, where this will cost ${_dollars(shortage.cost)}"


def _dollars(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
