import time
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from agentplat.accounts import service, signing
from agentplat.accounts.errors import (
    ImpersonationRefused,
    SubjectMissing,
    TokenExpired,
    TokenInvalid,
    UserNotFound,
)
from agentplat.accounts.models import DEFAULT_USER, Asked, User
from agentplat.infra.db import Database
from agentplat.infra.errors import ConfigError
from agentplat.infra.keys import new_private_key
from agentplat.infra.settings import Settings
from tests.support.services import JWT_KEY
from tests.support.switches import environment_of

Token = Callable[..., str]

ASKED = Asked(method="GET", path="/api/graphs", request_id="1")


@pytest.fixture(autouse=True)
def _settings(settings: Settings) -> None:
    service.forget_users()


def sign(claims: dict[str, Any], key: str = JWT_KEY, algorithm: str = "HS256") -> str:
    return jwt.encode({"aud": "authenticated", "sub": "u", "exp": 2**32, **claims}, key, algorithm=algorithm)


def test_a_token_says_who_is_asking(make_token: Token) -> None:
    token = make_token("ann", role="admin", email="ann@example.com", user_metadata={"name": "Ann"})
    user = service.authenticate(token)
    assert user == User(id="ann", email="ann@example.com", role="admin", name="Ann")
    assert user.is_admin


def test_issued_tokens_are_accepted() -> None:
    user = service.authenticate(service.issue_token("bob", "bob@example.com"))
    assert (user.id, user.email, user.is_admin) == ("bob", "bob@example.com", False)


@pytest.mark.parametrize(
    ("token", "error", "message"),
    [
        (sign({"exp": 1}), TokenExpired, "Token has expired"),
        (sign({"aud": "anon"}), TokenInvalid, "Invalid token: it is meant for somebody else$"),
        (sign({"aud": ["x", "y"]}), TokenInvalid, "Invalid token: it is meant for somebody else$"),
        (sign({}, key="another key that is long enough to sign"), TokenInvalid, "Invalid token: its signature does"),
        (sign({}, algorithm="HS384", key=JWT_KEY * 2), TokenInvalid, "Invalid token: .* algorithm$"),
        (jwt.encode({"sub": "u", "aud": "authenticated", "exp": 2**32}, "", algorithm="none"), TokenInvalid, "Invalid"),
        (jwt.encode({"sub": "u", "exp": 2**32}, JWT_KEY, algorithm="HS256"), TokenInvalid, "Invalid token"),
        (jwt.encode({"sub": "u", "aud": "authenticated"}, JWT_KEY), TokenInvalid, 'Invalid token: .*"exp" claim'),
        (sign({"exp": None}), TokenInvalid, 'Invalid token: .*"exp" claim'),
        (sign({"exp": "soon"}), TokenInvalid, "Invalid token: it is malformed$"),
        (sign({"exp": 1e400}), TokenInvalid, "Invalid token: it is malformed$"),
        (sign({"nbf": 2**31}), TokenInvalid, "Invalid token: it does not count yet$"),
        (sign({"sub": ""}), SubjectMissing, "User ID not found in token"),
        (sign({"sub": None}), SubjectMissing, "User ID not found in token"),
        (sign({"sub": ["u"]}), TokenInvalid, "Invalid token"),
        (jwt.encode({"aud": "authenticated", "exp": 2**32}, JWT_KEY), SubjectMissing, "User ID not found in token"),
        (sign({"sub": "a\0b"}), TokenInvalid, "Invalid token"),
        (sign({"sub": "a" * 256}), TokenInvalid, "Invalid token"),
        # The library would tell of its padding, its JSON and its recursion.
        ("not.a.token", TokenInvalid, "Invalid token: it is malformed$"),
        ("é", TokenInvalid, "Invalid token: it is malformed$"),
        ("", TokenInvalid, "Invalid token: it is malformed$"),
        (b64encode(b"[" * 9000).decode() + ".e30.x", TokenInvalid, "Invalid token: it is malformed$"),
    ],
)
def test_what_is_no_valid_token_is_refused(token: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        service.authenticate(token)


def test_a_remembered_token_still_expires() -> None:
    token = sign({"exp": 2**32})
    assert service.authenticate(token) is service.authenticate(token)
    verifier = service.Verifier(JWT_KEY, "HS256", "authenticated")
    over = int(time.time()) - 1
    token = sign({"exp": over})
    verifier._verified.put(token, (over, User(id="u")))  # as it was remembered before that
    with pytest.raises(TokenExpired):
        verifier.verify(token)


def test_claims_that_postgres_cannot_hold_are_dropped() -> None:
    assert service.authenticate(sign({"email": "a\0@b", "user_metadata": {"name": 7}})) == User(id="u")
    assert service.authenticate(sign({"user_metadata": {"name": "A\0" * 500}})).name == "A" * 200


def test_a_token_may_be_good_for_ever() -> None:
    token = sign({"exp": 10**400})
    assert service.authenticate(token) is service.authenticate(token)


@pytest.mark.parametrize(("length", "warned"), [(31, True), (32, False)])
def test_a_short_key_is_warned_of(
    length: int, warned: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    service.verifier(Settings(jwt_verify_key="k" * length))
    # Which of them has it depends on whether another test has configured logging.
    assert ("jwt_key_short" in caplog.text + "".join(capfd.readouterr())) == warned


def test_without_authentication_everybody_is_the_default_user() -> None:
    with environment_of(ENABLE_AUTH="false"):
        assert service.authenticate("anything") == DEFAULT_USER


@pytest.mark.parametrize("algorithm", ["none", "HS257"])
def test_an_unusable_algorithm_stops_the_start(algorithm: str) -> None:
    with pytest.raises(ConfigError, match="JWT_SIGN_ALGORITHM"):
        service.verifier(Settings(jwt_verify_key=JWT_KEY, jwt_sign_algorithm=algorithm))


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES384"])
def test_a_key_that_does_not_fit_stops_the_start(algorithm: str) -> None:
    """A PEM of another kind is taken for no secret either; else each token that claims the algorithm would be a 500."""
    public = signing.verify_key(Settings(jwt_sign_key=new_private_key(), jwt_sign_algorithm="ES256"))
    with pytest.raises(ConfigError, match=f"JWT_VERIFY_KEY does not fit {algorithm}"):
        service.verifier(Settings(jwt_verify_key=public, jwt_sign_algorithm=algorithm))
    previous = Settings(jwt_verify_key=JWT_KEY, jwt_previous_keys=(public or "",))
    with pytest.raises(ConfigError, match="JWT_PREVIOUS_KEYS does not fit HS256"):
        service.verifier(previous)


def test_tokens_outlive_the_key_that_signed_them() -> None:
    old, older = "o" * 40, "p" * 40
    tokens = [sign({}, key=key) for key in (JWT_KEY, old, older)]
    with environment_of(JWT_PREVIOUS_KEYS=f'["{old}", "{older}"]'):
        assert [service.authenticate(token).id for token in tokens] == ["u"] * 3
        assert service.is_service_key(jwt.encode({"role": "service_role", "exp": 2**32}, old))
        with pytest.raises(TokenInvalid, match="its signature does not fit"):
            service.authenticate(sign({}, key="q" * 40))
        with pytest.raises(TokenExpired):
            service.authenticate(sign({"exp": 1}, key=old))
    for token in tokens[1:]:
        with pytest.raises(TokenInvalid):
            service.authenticate(token)


def test_clocks_may_differ_by_as_much_as_is_configured() -> None:
    moment = int(time.time())
    late, early = sign({"exp": moment - 30}), sign({"nbf": moment + 30, "iat": moment + 30})
    with environment_of(JWT_LEEWAY="60"):
        for token in (late, late, early):
            assert service.authenticate(token).id == "u"
    with pytest.raises(TokenExpired):
        service.authenticate(late)
    with pytest.raises(TokenInvalid):
        service.authenticate(early)


def test_a_missing_key_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="JWT_VERIFY_KEY"):
        service.verifier(Settings())


def test_a_token_may_be_issued_for_any_time() -> None:
    with pytest.raises(TokenExpired):
        service.authenticate(service.issue_token("u", ttl=timedelta(seconds=-1)))


async def test_the_first_request_makes_the_users_row(db: Database) -> None:
    for email in ("a@b.c", "other@b.c"):
        await service.ensure_user(User(id="ann", email=email))
        service.forget_users()
    assert [dict(row) for row in await db.fetch("SELECT id, email FROM users")] == [{"id": "ann", "email": "a@b.c"}]


async def test_administrators_act_as_existing_users_only(db: Database) -> None:
    admin = User(id="root", role="admin")
    await service.ensure_user(User(id="ann", email="a@b.c"))
    assert (await service.impersonate(admin, "ann", ASKED)).email == "a@b.c"
    assert not (await service.impersonate(admin, "ann", ASKED)).is_admin
    for unknown in ("bob", "", "a\0", "x" * 300):
        with pytest.raises(UserNotFound):
            await service.impersonate(admin, unknown, ASKED)
    with pytest.raises(ImpersonationRefused):
        await service.impersonate(User(id="ann"), "root", ASKED)
    assert await db.fetchval("SELECT count(*) FROM impersonations") == 2


@pytest.mark.parametrize("role", [None, 7, "", "anon", "service_role", ["admin"]])
def test_a_token_without_a_role_of_ours_is_just_a_user(role: Any) -> None:
    claims = {"exp": 2**32} | ({} if role == "" else {"role": role})
    user = service.authenticate(sign(claims))
    assert (user.id, user.is_admin) == ("u", False)


@pytest.mark.parametrize("issuer", [None, "https://other.example.com", "", "https://issuer.example.com/"])
def test_with_an_issuer_configured_only_its_tokens_count(issuer: Any) -> None:
    theirs = "https://issuer.example.com"
    with environment_of(JWT_ISSUER=theirs):
        claims = {"exp": 2**32} | ({} if issuer is None else {"iss": issuer})
        with pytest.raises(TokenInvalid):
            service.authenticate(sign(claims))
        assert service.authenticate(sign({"exp": 2**32, "iss": theirs})).id == "u"
        assert service.authenticate(service.issue_token("u")).id == "u"
