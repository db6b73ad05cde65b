"""What is refused about runs."""

from agentplat.infra.errors import AppError, BadRequest, Conflict, Invalid, NotFound, PaymentRequired

# When to try again that which was too much now.
RETRY_SECONDS = 10


class RunNotFound(NotFound):
    """There is no such run."""

    code = "run_not_found"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Graph execution #{run_id} not found.")


class ShareNotFound(NotFound):
    """There is no shared run here (any more)."""

    code = "share_not_found"


class NotStartable(BadRequest):
    """The run can't begin with these inputs."""

    code = "not_startable"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class InsufficientBalance(PaymentRequired):
    """Insufficient balance to execute the agent. Please top up your account."""

    code = "insufficient_balance"


class TooManyWaiting(AppError):
    """Too many of your runs wait for their turn."""

    status = 429
    code = "too_many_waiting"

    def __init__(self, most: int) -> None:
        message = f"{most:,} of your runs wait for their turn, and more are not taken. Try again when some have begun."
        super().__init__(message, headers={"Retry-After": str(RETRY_SECONDS)})


class DeadlineInvalid(Invalid):
    """A run can't have this deadline."""

    code = "deadline_invalid"

    @classmethod
    def above(cls, most: int, given: int) -> "DeadlineInvalid":
        message = f"Runs may take at most {most} seconds here"
        return cls(
            detail=[{"type": "less_than_equal", "loc": ["body", "deadline_seconds"], "msg": message, "input": given}]
        )


class ReviewNotFound(NotFound):
    """There is no such review."""

    code = "review_not_found"


class ReviewConflict(Conflict):
    """These reviews can't be decided (any more)."""

    code = "review_conflict"


class ReviewRefused(BadRequest):
    """This decision contradicts the review."""

    code = "review_refused"


class ReviewInvalid(Invalid):
    """The decisions do not have the expected form."""

    @classmethod
    def at(cls, field: str, message: str) -> "ReviewInvalid":
        return cls(detail=[{"type": "value_error", "loc": ["body", field], "msg": message}])
