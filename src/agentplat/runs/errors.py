"""What is refused about runs."""

from agentplat.infra.errors import BadRequest, NotFound, PaymentRequired


class RunNotFound(NotFound):
    """There is no such run."""

    code = "run_not_found"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Graph execution #{run_id} not found.")


class NotStartable(BadRequest):
    """The run can't begin with these inputs."""

    code = "not_startable"


class InsufficientBalance(PaymentRequired):
    """Insufficient balance to execute the agent. Please top up your account."""

    code = "insufficient_balance"
