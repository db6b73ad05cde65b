"""Errors that may reach a user. The class decides status and code, its docstring is the message unless one is given."""

from collections.abc import Mapping
from typing import Any


class AppError(Exception):
    """Something went wrong on our side."""

    status = 500
    code = "internal"

    def __init__(
        self,
        message: str | None = None,
        *,
        detail: Any = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or AppError.__doc__ or "").strip()
        self.detail = detail
        self.hint = hint
        self.headers = headers or {}
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class BadRequest(AppError):
    """The request can't be understood."""

    status = 400
    code = "bad_request"


class BadValue(BadRequest):
    """A value that has the expected form, and yet can't be used: where the contract asks for 400 and not for 422."""

    code = "bad_value"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Unauthenticated(AppError):
    """Who is asking is not known."""

    status = 401
    code = "unauthenticated"

    def __init__(self, message: str | None = None) -> None:
        # HTTP has every 401 say how to do better.
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class PaymentRequired(AppError):
    """The balance does not cover this."""

    status = 402
    code = "payment_required"


class NotAllowed(AppError):
    """This is not allowed."""

    status = 403
    code = "forbidden"


class NotFound(AppError):
    """There is nothing here under this id."""

    status = 404
    code = "not_found"


class TooSlow(AppError):
    """The request took too long to arrive."""

    status = 408
    code = "request_timeout"


class Conflict(AppError):
    """This contradicts the present state."""

    status = 409
    code = "conflict"


class TooLarge(AppError):
    """The request is larger than this server accepts."""

    status = 413
    code = "too_large"


class Invalid(AppError):
    """The request does not have the expected form."""

    # `detail` is a list of {type, loc, msg, input}.
    status = 422
    code = "invalid"


class TooMany(AppError):
    """These are too many requests."""

    status = 429
    code = "rate_limited"


class Unavailable(AppError):
    """A service this depends on can't be reached right now."""

    status = 503
    code = "unavailable"


class ConfigError(AppError):
    """The configuration does not work."""

    status = 503
    code = "misconfigured"
