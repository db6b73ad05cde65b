"""Why somebody is not let in, or not heard. The messages about tokens are the contract's."""

from typing import Self

from agentplat.infra.errors import AppError, BadRequest, Conflict, Invalid, NotAllowed, NotFound, Unauthenticated


class Misplaced(Invalid):
    """One place of the request does not have the expected form"""

    @classmethod
    def at(cls, *loc: str) -> Self:
        """The error, with its message, about that place."""
        return cls(detail=[{"type": "value_error", "loc": list(loc), "msg": (cls.__doc__ or "").strip()}])


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

    code = "user_not_found"


class EmailMissing(Unauthenticated):
    """Email not found in token"""


class EmailTaken(Conflict):
    """This e-mail address belongs to another account"""

    code = "email_taken"


class EmailInvalid(Misplaced):
    """This is no e-mail address"""


class TimezoneUnknown(Misplaced):
    """This is no time zone; expected an IANA name such as Europe/Paris"""


# --- signing in: codes and statuses are those that Supabase's clients know


class SignInError(AppError):
    """This is not possible"""

    status = 400


class CredentialsInvalid(SignInError):
    """Invalid login credentials"""

    code = "invalid_credentials"


class UserExists(SignInError):
    """User already registered"""

    status = 422
    code = "user_already_exists"


class PasswordWeak(SignInError):
    """This password is too weak"""

    status = 422
    code = "weak_password"


class SignUpClosed(SignInError):
    """Accounts are made by the administrators here"""

    status = 422
    code = "signup_disabled"


class SignInElsewhere(SignInError):
    """Signing in is not done here: tokens come from another issuer"""

    status = 404
    code = "sign_in_elsewhere"


class RefreshTokenUnknown(SignInError):
    """Invalid Refresh Token: Refresh Token Not Found"""

    code = "refresh_token_not_found"


class RefreshTokenReused(SignInError):
    """Invalid Refresh Token: Already Used"""

    code = "refresh_token_already_used"


class SessionNotFound(SignInError):
    """The session of this token is over"""

    status = 403
    code = "session_not_found"


class OneTimeTokenInvalid(SignInError):
    """The link is invalid, was used already, or has expired"""

    status = 403
    code = "otp_expired"


class FlowUnknown(SignInError):
    """There is no sign-in with another provider here"""

    status = 404
    code = "flow_state_not_found"


class TooManyAttempts(SignInError):
    """Too many attempts"""

    status = 429
    code = "over_request_rate_limit"

    def __init__(self, seconds: int) -> None:
        headers = {"Retry-After": str(seconds)}
        super().__init__(f"Too many attempts. Try again in {seconds} seconds.", headers=headers)


class SignInBusy(SignInError):
    """Too many people sign in at this moment"""

    status = 503
    code = "busy"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class InPersonOnly(NotAllowed):
    """This can't be done while acting as somebody else"""

    code = "in_person_only"


# --- API keys


class ApiKeyMissing(Unauthenticated):
    """Missing authentication. Provide an API key."""


class ApiKeyInvalid(Unauthenticated):
    """Invalid API key"""


class PermissionMissing(NotAllowed):
    """This API key lacks a permission"""

    code = "permission_missing"


class ApiKeyNotFound(NotFound):
    """There is no such API key"""

    code = "api_key_not_found"


class ApiKeyRevoked(Conflict):
    """This API key was revoked, which is final"""

    code = "api_key_revoked"


class TooManyApiKeys(Conflict):
    """You have as many API keys as there may be. Revoke some."""

    code = "too_many_api_keys"


class ExpiryInvalid(Misplaced):
    """This is over already"""


class ExpiryTooFar(Misplaced):
    """This is after the year 9999"""


class NameEmpty(Misplaced):
    """There is nothing to be seen in this name"""


# --- mails


class UnsubscribeTokenInvalid(BadRequest):
    """This is no token of a link to unsubscribe by"""

    code = "unsubscribe_token_invalid"


class WebhookTokenInvalid(Unauthenticated):
    """The webhook's token is missing or wrong"""


class MemberMissing(Misplaced):
    """This kind of event needs this member"""


class BounceUnknown(Misplaced):
    """There is no such kind of bounce"""
