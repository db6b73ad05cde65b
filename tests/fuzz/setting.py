"""Who asks: a user and an administrator with accounts of their own, and a key with every permission; and what the first
and the key's owner have, for requests to name.
"""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt

from agentplat.accounts.models import Permission
from tests.fuzz.fuzzing import PROGRAM, USER, Belongings, Fuzzer
from tests.support.api import echo_graph
from tests.support.operations import SCHEDULE, SECRET, TEXT
from tests.support.services import JWT_KEY
from tests.support.sign_in import PASSWORD
from tests.support.stripe import FakeStripe

APPROVAL = Path(__file__).parents[2] / "examples" / "agents" / "approval.json"
SECONDS = 60


class Setting:
    """`stripe` where payments are set up."""

    def __init__(self, url: str, number: int, stripe: FakeStripe | None = None) -> None:
        self.stripe = stripe
        # Of somebody else: what a user may do with keys would be the end of this one.
        self.owners = {user_id: _client(url, user_id) for user_id in (USER, PROGRAM)}
        body = {"name": "fuzz", "permissions": [str(permission) for permission in Permission]}
        key = _made(self.owners[PROGRAM].post("/api/api-keys", json=body))["plain_text_key"]
        self.fuzzer = Fuzzer(url, (_token(USER, "authenticated"), _token("fuzz-admin", "admin")), key, number)
        self.signed_up = 0

    def renew(self) -> None:
        """Requests have changed, ended or deleted what there was."""
        self.fuzzer.belongings = {user_id: self._belongings(owner) for user_id, owner in self.owners.items()}

    def close(self) -> None:
        for owner in self.owners.values():
            owner.close()

    def _belongings(self, owner: httpx.Client) -> Belongings:
        bought = self._bought(owner, self.stripe) if self.stripe else {}
        graph = _made(owner.post("/api/graphs", json={"graph": echo_graph()}))["id"]
        run = _made(owner.post(f"/api/graphs/{graph}/execute/1", json={}, headers={"Prefer": "wait=20"}))["id"]
        shared = _made(owner.post(f"/api/graphs/{graph}/executions/{run}/share"))
        key = _made(owner.post("/api/api-keys", json={"name": "program", "permissions": ["READ_BLOCK"]}))
        file_id = _made(owner.post("/api/files/upload", **TEXT))["file_id"]
        link = _made(owner.get(f"/api/files/{file_id}/link"))["url"]
        return {
            "graph_id": graph,
            "graph_exec_id": run,
            "share_token": shared["share_token"],
            "key_id": key["api_key"]["id"],
            "schedule_id": _made(owner.post(f"/api/graphs/{graph}/schedules", json=SCHEDULE))["id"],
            "provider": "github",
            "cred_id": _made(owner.post("/api/integrations/github/credentials", json=SECRET))["id"],
            "file_id": file_id,
            **dict(parse_qsl(urlsplit(link).query)),
            **self._asked(owner),
            **self._account(owner),
            **bought,
        }

    def _asked(self, owner: httpx.Client) -> Belongings:
        """A person's decision that a run waits for."""
        graph = _made(owner.post("/api/graphs", json={"graph": json.loads(APPROVAL.read_text())}))["id"]
        run = _made(owner.post(f"/api/graphs/{graph}/execute/1", json={"inputs": {"to": "Ada"}}))["id"]
        give_up = time.monotonic() + SECONDS
        while not (waiting := _made(owner.get(f"/api/review/execution/{run}"))):
            assert time.monotonic() < give_up, "nobody is asked"
        return {"node_exec_id": waiting[0]["node_exec_id"]}

    def _account(self, owner: httpx.Client) -> Belongings:
        self.signed_up += 1
        account = {"email": f"fuzz-{self.signed_up}@example.com", "password": PASSWORD}
        session = _made(owner.post("/auth/v1/signup", json=account))
        return {**account, "user_id": session["user"]["id"], "refresh_token": session["refresh_token"]}

    def _bought(self, owner: httpx.Client, stripe: FakeStripe) -> Belongings:
        session = _made(owner.post("/api/credits", json={"credit_amount": 1000}))["checkout_url"].rpartition("/")[2]
        paid = stripe.pay(session)
        owner.patch("/api/credits").raise_for_status()
        return {"transaction_key": paid["payment_intent"]}


def _made(answer: httpx.Response) -> Any:
    return answer.raise_for_status().json()


def _client(url: str, user_id: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {_token(user_id, 'authenticated')}"}
    return httpx.Client(base_url=url, headers=headers, timeout=SECONDS)


def _token(user_id: str, role: str) -> str:
    claims = {"sub": user_id, "role": role, "aud": "authenticated", "email": f"{user_id}@example.com"}
    return jwt.encode({**claims, "exp": int(time.time()) + 86_400}, JWT_KEY, algorithm="HS256")
