"""Who asks: a user and an administrator with accounts of their own, and a key with every permission."""

import time

import httpx
import jwt

from agentplat.accounts.models import Permission
from tests.fuzz.fuzzing import Fuzzer
from tests.support.api import echo_graph
from tests.support.services import JWT_KEY


def fuzzer(url: str, number: int) -> Fuzzer:
    tokens = _token("fuzz", "authenticated"), _token("fuzz-admin", "admin")
    # Of somebody else: what a user may do with keys would be the end of this one.
    owner = _token("fuzz-program", "authenticated")
    body = {"name": "fuzz", "permissions": [str(permission) for permission in Permission]}
    with _client(url, owner) as client:
        key = client.post("/api/api-keys", json=body).raise_for_status().json()["plain_text_key"]
    one = Fuzzer(url, tokens, key, number)
    for token in (tokens[0], owner) * 2:
        with _client(url, token) as client:
            graph = client.post("/api/graphs", json={"graph": echo_graph()}).raise_for_status().json()["id"]
            started = client.post(f"/api/graphs/{graph}/execute/1", json={}, headers={"Prefer": "wait=20"})
            one.know(graph_id=graph, graph_exec_id=started.raise_for_status().json()["id"])
    return one


def _client(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def _token(user_id: str, role: str) -> str:
    claims = {"sub": user_id, "role": role, "aud": "authenticated", "email": f"{user_id}@example.com"}
    return jwt.encode({**claims, "exp": int(time.time()) + 86_400}, JWT_KEY, algorithm="HS256")
