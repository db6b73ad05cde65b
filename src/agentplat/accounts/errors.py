"""Why somebody is not let in. The messages are the contract's."""

from agentplat.infra.errors import NotAllowed, NotFound, Unauthenticated


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
