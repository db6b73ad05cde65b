"""Keys of tokens: what they are signed with, what they are checked with, and what others may check them with."""

import time
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from jwt.algorithms import get_default_algorithms

from agentplat.infra.errors import ConfigError
from agentplat.infra.settings import Settings, get_settings

TTL = timedelta(hours=1)


def offered(settings: Settings) -> bool:
    """Whether people sign in here. With an issuer of its own, or without a key to sign with, that is elsewhere."""
    return settings.jwt_issuer is None and _signing_key(settings) is not None


def _signing_key(settings: Settings) -> str | None:
    return settings.jwt_verify_key if settings.jwt_sign_algorithm.startswith("HS") else settings.jwt_sign_key


def verify_key(settings: Settings) -> str | None:
    if settings.jwt_sign_key is None or settings.jwt_sign_algorithm.startswith("HS"):
        return settings.jwt_verify_key
    return settings.jwt_verify_key or _public(settings.jwt_sign_key)


@lru_cache(maxsize=8)
def _public(private: str) -> str:
    try:
        key = load_pem_private_key(private.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError("JWT_SIGN_KEY is no private key in PEM without a password") from error
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(claims: dict[str, Any], ttl: timedelta) -> str:
    """A token that says `claims` until `ttl` is over."""
    settings = get_settings()
    key = _signing_key(settings)
    if key is None:
        raise ConfigError("JWT_SIGN_KEY is not set: tokens can't be signed")
    moment = int(time.time())
    body = {"aud": settings.jwt_audience, **claims, "iat": moment, "exp": moment + int(ttl.total_seconds())}
    if settings.jwt_issuer is not None:
        body["iss"] = settings.jwt_issuer
    published = jwks(settings)
    headers = {"kid": published[0]["kid"]} if published else None
    try:
        return jwt.encode(body, key, algorithm=settings.jwt_sign_algorithm, headers=headers)
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise ConfigError(f"JWT_SIGN_KEY does not fit {settings.jwt_sign_algorithm}") from error


def jwks(settings: Settings) -> list[dict[str, Any]]:
    """The public key as a JSON Web Key. Nothing where one secret signs and checks."""
    key = verify_key(settings)
    if key is None or settings.jwt_sign_algorithm.startswith("HS"):
        return []
    return _jwks(key, settings.jwt_sign_algorithm)


@lru_cache(maxsize=8)
def _jwks(public: str, name: str) -> list[dict[str, Any]]:
    algorithm: Any = get_default_algorithms()[name]
    try:
        members = algorithm.to_jwk(algorithm.prepare_key(public), as_dict=True)
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise ConfigError(f"JWT_VERIFY_KEY does not fit {name}") from error
    kid = sha256(public.encode()).hexdigest()[:16]
    return [{**members, "kid": kid, "alg": name, "use": "sig", "key_ops": ["verify"]}]
