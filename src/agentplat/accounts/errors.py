"""Why somebody is not let in. The messages are the contract's."""

from typing import Any

from agentplat.infra.errors import Conflict, Invalid, NotAllowed, NotFound, Unauthenticated


class TokenMissing(Unauthenticated):
    """Authorization header is missing"""


class TokenExpired(Unauthenticated):
    """Token has expired"""


class TokenInvalid(Unauthenticated):
    """Invalid token"""


class SubjectMissing(Unauthenticated):
    """User ID not found in token"""


class AdminRequired(NotAllowed):
    """Admin access required"""


class ImpersonationRefused(NotAllowed):
    """Only admin users can impersonate other users"""


class UserNotFound(NotFound):
    """There is no such user"""


class EmailMissing(Unauthenticated):
    """Email not found in token"""


class EmailTaken(Conflict):
    """This e-mail address belongs to another account"""

    code = "email_taken"


class EmailInvalid(Invalid):
    """This is no e-mail address"""

    @classmethod
    def at(cls, *loc: str) -> "EmailInvalid":
        return cls(detail=[_problem(cls.__doc__, loc)])


class TimezoneUnknown(Invalid):
    """This is no time zone; expected an IANA name such as Europe/Paris"""

    @classmethod
    def at(cls, *loc: str) -> "TimezoneUnknown":
        return cls(detail=[_problem(cls.__doc__, loc)])


def _problem(message: str | None, loc: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "value_error", "loc": list(loc), "msg": message}
