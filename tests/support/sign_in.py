"""Signing in as Supabase's clients do."""

import time
from typing import Any

import httpx
import jwt

from tests.support.services import JWT_KEY

PASSWORD = "correct horse battery"


async def sign_up(client: httpx.AsyncClient, email: str = "ann@example.com", **members: Any) -> Any:
    return await answer(client.post("/auth/v1/signup", json={"email": email, "password": PASSWORD, **members}))


def by_password(client: httpx.AsyncClient, email: str = "ann@example.com", password: str = PASSWORD) -> Any:
    return client.post("/auth/v1/token?grant_type=password", json={"email": email, "password": password})


def refresh(client: httpx.AsyncClient, token: str) -> Any:
    return client.post("/auth/v1/token?grant_type=refresh_token", json={"refresh_token": token})


def bearer(session: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['access_token']}"}


async def answer(call: Any) -> Any:
    response = await call
    assert response.is_success, response.text
    return response.json() if response.content else None


async def refused(call: Any) -> tuple[int, str]:
    """Status and code, where the clients look for it."""
    response = await call
    assert not response.is_success, response.text
    assert response.headers["x-supabase-api-version"] == "2024-01-01"
    return response.status_code, response.json()["code"]


def service_key(**claims: Any) -> dict[str, str]:
    """The key of a backend, as a header."""
    body = {"role": "service_role", "iss": "supabase", "exp": int(time.time()) + 60} | claims
    return {"Authorization": f"Bearer {jwt.encode(body, JWT_KEY)}"}
