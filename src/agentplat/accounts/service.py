"""Who is asking: tokens in, users out.

A verified token is remembered until it expires, because checking a signature costs more than most requests do
otherwise. Nothing is looked up in the database for it: a token is the whole proof.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms
from jwt.types import Options
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from agentplat.accounts import api_keys, email, one_time, rules, sign_in, signing
from agentplat.accounts import users as own
from agentplat.accounts.errors import (
    AdminRequired,
    ImpersonationRefused,
    SubjectMissing,
    TokenExpired,
    TokenInvalid,
    UserNotFound,
)
from agentplat.accounts.models import ADMIN, DEFAULT_USER, Asked, User
from agentplat.accounts.queries import users
from agentplat.infra.errors import ConfigError
from agentplat.infra.lru import LRU
from agentplat.infra.settings import Settings, get_settings
from agentplat.infra.telemetry import get_logger

MAX_ID_LENGTH = 255
# Any whole number may stand in a token; later than this is for ever.
LATEST = 2**53
# Of an HMAC, in characters: who knows a shorter one may have guessed it.
SHORTEST_KEY = 32

SERVICE_ROLE = "service_role"
# Who asks with the service-role key. Has no row and owns nothing.
SERVICE = User(id=SERVICE_ROLE, role=ADMIN)

# Why a token does not count, in words of ours: those of the library tell how it reads tokens.
_REASONS: tuple[tuple[type[jwt.InvalidTokenError], str], ...] = (
    (jwt.InvalidSignatureError, "its signature does not fit"),
    (jwt.InvalidAudienceError, "it is meant for somebody else"),
    (jwt.InvalidIssuerError, "it is from somebody else"),
    (jwt.InvalidAlgorithmError, "it is not signed by the expected algorithm"),
    (jwt.ImmatureSignatureError, "it does not count yet"),
)

_log = get_logger(__name__)
_known_users: LRU[str, bool] = LRU(100_000)


class Verifier:
    """Checks tokens against one key, and those that it has replaced."""

    def __init__(
        self,
        key: str,
        algorithm: str,
        audience: str,
        issuer: str | None = None,
        previous: tuple[str, ...] = (),
        leeway: float = 0.0,
    ) -> None:
        if algorithm not in get_default_algorithms() or algorithm.lower() == "none":
            raise ConfigError(f"JWT_SIGN_ALGORITHM: {algorithm!r} is no algorithm that tokens may be signed with")
        self.algorithm, self.audience, self.issuer, self.leeway = algorithm, audience, issuer, leeway
        self._key = signing.read(key, algorithm, "JWT_VERIFY_KEY")
        self._previous = [signing.read(one, algorithm, "JWT_PREVIOUS_KEYS") for one in previous]
        self._verified: LRU[str, tuple[float, User]] = LRU(10_000)

    def verify(self, token: str) -> User:
        moment = time.time()
        if known := self._verified.get(token):
            expires, user = known
            if moment < expires:
                return user
            self._verified.pop(token)
        claims = self._decode(token)
        user = _user_of(claims)
        self._verified.put(token, (min(int(claims["exp"]), LATEST) + self.leeway, user))
        return user

    def claims(self, token: str, options: Options, **expected: str | None) -> dict[str, Any]:
        """What a token says that is signed with one of the keys. Raises the errors of the library."""
        *others, last = self._key, *self._previous
        for key in others:
            with suppress(jwt.InvalidSignatureError):
                return self._claims(token, key, options, expected)
        return self._claims(token, last, options, expected)

    def _claims(self, token: str, key: Any, options: Options, expected: Mapping[str, Any]) -> dict[str, Any]:
        return jwt.decode(token, key, algorithms=[self.algorithm], options=options, leeway=self.leeway, **expected)

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            # The subject is looked at by `_user_of`, which tells a missing one from an unusable one. The AutoGPT
            # Platform takes tokens without `exp`; as nothing can revoke a token, one that leaks would be good for ever.
            options: Options = {"verify_sub": False, "require": ["exp"]}
            return self.claims(token, options, audience=self.audience, issuer=self.issuer)
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, ValueError) as error:
            raise TokenInvalid(f"Invalid token: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f'it has no "{error.claim}" claim'
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "it is malformed")


def _user_of(claims: dict[str, Any]) -> User:
    subject = claims.get("sub")
    if not subject:
        raise SubjectMissing
    if not isinstance(subject, str) or not is_user_id(subject):
        raise TokenInvalid("Invalid token: the subject is no user id")
    email, role = claims.get("email"), claims.get("role")
    metadata = claims.get("user_metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return User(
        id=subject,
        email=_text(email, rules.MAX_EMAIL_LENGTH),
        role=role if isinstance(role, str) else "authenticated",
        name=rules.clean_name(name) if isinstance(name, str) else None,
        session_id=_text(claims.get("session_id"), MAX_ID_LENGTH),
    )


def _text(value: object, longest: int) -> str | None:
    """Claims are whatever the provider signed; what Postgres can't store or index is not worth refusing a user for."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= longest else None


def is_user_id(text: str) -> bool:
    return 0 < len(text) <= MAX_ID_LENGTH and text.isprintable()


@lru_cache(maxsize=8)
def _verifier(
    key: str, algorithm: str, audience: str, issuer: str | None, previous: tuple[str, ...], leeway: float
) -> Verifier:
    if algorithm.startswith("HS") and len(key) < SHORTEST_KEY:
        _log.warning("jwt_key_short", hint=f"JWT_VERIFY_KEY should have at least {SHORTEST_KEY} characters")
    return Verifier(key, algorithm, audience, issuer, previous, leeway)


def verifier(settings: Settings) -> Verifier:
    """The verifier for these settings. Raises ConfigError when they are unusable: called at start to find out early."""
    key = signing.verify_key(settings)
    if not key:
        raise ConfigError("JWT_VERIFY_KEY is not set: tokens can't be checked")
    return _verifier(
        key,
        settings.jwt_sign_algorithm,
        settings.jwt_audience,
        settings.jwt_issuer,
        settings.jwt_previous_keys,
        settings.jwt_leeway_seconds,
    )


def authenticate(token: str) -> User:
    """The user of a token. With authentication switched off everybody is the default user, whatever the token."""
    settings = get_settings()
    if not settings.enable_auth:
        return DEFAULT_USER
    return verifier(settings).verify(token)


def is_service_key(token: str) -> bool:
    """Whether it is the key of a backend rather than somebody's token: signed like one, with a role and no subject."""
    try:
        claims = verifier(get_settings()).claims(token, {"verify_aud": False, "require": ["exp"]})
    except (jwt.InvalidTokenError, ValueError):
        return False
    return claims.get("role") == SERVICE_ROLE and not claims.get("sub")


def issue_token(
    user_id: str,
    email: str | None = None,
    role: str = "authenticated",
    ttl: timedelta = timedelta(hours=1),
) -> str:
    """Sign a token as the auth provider would. For development and tests; needs a key to sign with."""
    claims = {"sub": user_id, "role": role} | ({} if email is None else {"email": email})
    return signing.sign(claims, ttl)


async def ensure_user(user: User) -> None:
    """Make sure that the user has a row to own things with. One statement per user and process."""
    if _known_users.get(user.id):
        return
    await users.insert_missing(user)
    _known_users.put(user.id, True)


def admins_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard for operations: who may not use one is told so, and not what is wrong with the request."""
    user: User = connection.scope["user"]
    if not user.is_admin:
        raise AdminRequired


async def impersonate(admin: User, user_id: str, asked: Asked) -> User:
    """The user that an administrator acts as, which goes on record first. Unlike a token's, this id is not proven to be
    anybody's."""
    if not admin.is_admin:
        raise ImpersonationRefused
    found = await users.act_as(admin, user_id, asked) if is_user_id(user_id) else None
    if found is None:
        raise UserNotFound(f"There is no user {user_id!r} to act as")
    return found


def forget_users() -> None:
    """Look every user up anew: for a database that was replaced under a running process, as tests do."""
    _known_users.clear()


# For programs with an API key, and for Postmark


check_postmark = email.check_postmark
user_of_key = api_keys.user_of
forget_uses = api_keys.forget_uses
timezone = own.timezone

# For what happens at somebody's time of day


async def usual_timezone(user: User) -> str:
    """The user's own zone, UTC as long as they have not told one."""
    zone = (await own.timezone(user)).timezone
    return zone if is_timezone(zone) else "UTC"


def is_timezone(name: str) -> bool:
    return name in rules.timezones()


# For the operator


create_user = sign_in.create_user
set_role = sign_in.set_role
links = one_time.waiting
seal_anew = one_time.seal_anew
count_old_keys = api_keys.count_old
