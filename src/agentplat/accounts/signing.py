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
    return _pem(key.public_key())


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
    """The public keys as JSON Web Keys, the present one first. Nothing where one secret signs and checks."""
    key = verify_key(settings)
    if key is None or settings.jwt_sign_algorithm.startswith("HS"):
        return []
    return _jwks((key, *settings.jwt_previous_keys), settings.jwt_sign_algorithm)


@lru_cache(maxsize=8)
def _jwks(texts: tuple[str, ...], name: str) -> list[dict[str, Any]]:
    algorithm: Any = get_default_algorithms()[name]
    shared = {"alg": name, "use": "sig", "key_ops": ["verify"]}
    keys = [read(text, name, "JWT_VERIFY_KEY") for text in texts]
    return [{**algorithm.to_jwk(key, as_dict=True), "kid": _kid(key), **shared} for key in keys]


def _kid(key: Any) -> str:
    """The same whether the key was configured by itself or with its private part."""
    return sha256(_pem(key).encode()).hexdigest()[:16]


def _pem(public: Any) -> str:
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def read(text: str, name: str, variable: str) -> Any:
    """The key that tokens of this algorithm are checked with. `variable` is where the text is from.

    Of a private key, which would do as well, it is the public part: what tokens are checked with gets published.
    """
    algorithm: Any = get_default_algorithms()[name]
    try:
        key = algorithm.prepare_key(text)
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise ConfigError(f"{variable} does not fit {name}") from error
    return key.public_key() if hasattr(key, "public_key") else key
