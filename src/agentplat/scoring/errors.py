from agentplat.infra.errors import Conflict, Invalid


class ScoringNotConfigured(Conflict):
    """This server has no key for a language model's provider."""

    code = "scoring_not_configured"

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"This server has no key of its own for the provider '{provider}'",
            hint="Whoever runs this server has to set it; the README lists the variables.",
        )


class WishInvalid(Invalid):
    """Runs can't be judged in this way."""

    @classmethod
    def at(cls, field: str, message: str) -> "WishInvalid":
        problem = {"type": "value_error", "loc": ["body", field], "msg": message}
        return cls(f"body.{field}: {message}", detail=[problem])


class JudgementMissing(Exception):
    """The model has not answered what it was asked."""
