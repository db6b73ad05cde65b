"""Whatever is sent to the operations of accounts: an answer, and never a 5xx."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.sign_in import PASSWORD, answer, sign_up

pytestmark = pytest.mark.usefixtures("redis")

VALUES: list[Any] = [
    *(None, True, 0, -1, 2**70, 1.5, [], {}, [[]], {"a": {"b": None}}),
    *("", " ", "\0", "\x7f", "\u2028", "é" * 300, "x" * 100_000, "%", "' OR 1=1 --", "${7*7}", "a@b.c\r\nBcc: d@e.f"),
]
GOOD: dict[str, Any] = {
    "email": "eve@example.com",
    "password": PASSWORD,
    "data": {"name": "Eve"},
    "refresh_token": "x",
    "type": "recovery",
    "token_hash": "x",
    "role": "admin",
    "user_metadata": {"name": "Eve"},
    "name": "CI",
    "permissions": ["IDENTITY"],
    "description": "x",
    "expires_at": "2099-01-01T00:00:00Z",
    "timezone": "UTC",
    "preferences": {"AGENT_RUN": True},
    "daily_limit": 3,
}
OPERATIONS = [
    ("POST", "/auth/v1/signup", ("email", "password", "data")),
    ("POST", "/auth/v1/token?grant_type=password", ("email", "password")),
    ("POST", "/auth/v1/token?grant_type=refresh_token", ("refresh_token",)),
    ("POST", "/auth/v1/recover", ("email",)),
    ("POST", "/auth/v1/verify", ("type", "token_hash")),
    ("PUT", "/auth/v1/user", ("email", "password", "data")),
    ("POST", "/auth/v1/admin/users", ("email", "password", "role", "user_metadata")),
    ("POST", "/api/api-keys", ("name", "permissions", "description", "expires_at")),
    ("POST", "/api/auth/user/timezone", ("timezone",)),
    ("POST", "/api/auth/user/preferences", ("email", "preferences", "daily_limit")),
]


@pytest.mark.parametrize(("method", "path", "members"), OPERATIONS, ids=[path for _, path, _ in OPERATIONS])
async def test_whatever_is_sent(api: Api, method: str, path: str, members: tuple[str, ...]) -> None:
    root = api("root", role="admin")
    for member in members:
        for value in VALUES:
            body = {name: GOOD[name] for name in members} | {member: value}
            response = await root.request(method, path, json=body)
            assert response.status_code < 500, (member, value, response.text)


@pytest.mark.parametrize("name", ["redirect_to", "scope", "grant_type"])
async def test_whatever_is_asked(api: Api, name: str) -> None:
    session = await sign_up(api())
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    for value in (text for text in VALUES if isinstance(text, str) and len(text) < 1000):
        for method, path in (("POST", "recover"), ("POST", "logout"), ("POST", "token")):
            body = {"email": "ann@example.com"}
            response = await api().request(method, f"/auth/v1/{path}", params={name: value}, json=body, headers=headers)
            assert response.status_code < 500, (path, value, response.text)


async def test_an_address_said_as_something_else(api: Api) -> None:
    ann = api("ann")
    for value in VALUES:
        response = await ann.post("/api/auth/user/email", json=value)
        assert response.status_code == 422, (value, response.text)
    await answer(ann.post("/api/auth/user"))
