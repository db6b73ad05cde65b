"""Every operation of the API in one line: how to call it, what it answers, and how many statements that takes.

An operation that is added to the API without a line here fails `tests/server/test_operations.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from tests.support.api import NOBODYS_ID, echo_graph
from tests.support.graphs import STORE
from tests.support.mails import POSTMARK, bounce, unsubscribe_token
from tests.support.stripe import signed

Ids = dict[str, str]
Body = Callable[[Ids], Any]

# What path parameters are that are nobody's own.
PLAIN = {"version": "1", "graph_version": "1", "block_id": STORE, "provider": "github"}


class Operation(Struct, frozen=True):
    """`statements` is what the owner's call says to the database, BEGIN and COMMIT not counted. `foreign` is the answer
    where the ids of the path are somebody else's, or nobody's. `second` has the owner call it with another of its
    things than everybody else: one that is in the state it is for, or not deleted yet.
    """

    method: str
    path: str
    statements: int
    body: Any = None
    answer: int = 200
    foreign: int = 404
    admin: bool = False
    query: str = ""
    second: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def ids(self) -> list[str]:
        """The path's parameters that are somebody's."""
        named = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        return [name for name in named if name not in PLAIN]

    @property
    def paid(self) -> bool:
        """Whether it is only itself where payments are set up."""
        return self.path.startswith(CREDITS)

    @property
    def endless(self) -> bool:
        """Whether its answer goes on until the client leaves."""
        return self.path == GRAPH_EVENTS

    def own(self, ids: Ids) -> Ids:
        """The ids that it is called with."""
        return {**ids, **{name: ids[f"second_{name}"] for name in self.ids}} if self.second else ids

    def call(self, ids: Ids) -> tuple[str, str, Mapping[str, Any]]:
        """Method, address, and what goes with it as httpx wants it."""
        body = self.body(ids) if callable(self.body) else self.body
        url = (self.path + self.query).format_map(self.own(ids) | PLAIN)
        return self.method, url, body if isinstance(body, Sent) else {"json": body}


class Sent(dict[str, Any]):
    """A body that is no JSON, as httpx wants it."""


def own_run(ids: Ids) -> Any:
    return {"ids": [ids["graph_exec_id"]]}


KEY = {"name": "program", "permissions": ["READ_BLOCK"]}
REVIEW = {"reviews": [{"node_exec_id": NOBODYS_ID, "approved": True}]}
SIGN_UP = {"email": "new@example.com", "password": "correct horse battery"}
SIGN_IN = {"email": "ann@example.com", "password": "not the right one"}
SECRET = {"type": "api_key", "title": "Mine", "api_key": "s3cret"}
SCHEDULE = {"name": "Nightly", "cron": "30 2 * * *", "inputs": {}}
GRANT = {"user_id": "ann", "amount": 100, "comments": "sorry"}
BOUNCED = Sent(json=bounce("ann@example.com"), headers=POSTMARK)
TEXT = Sent(files={"file": ("a.txt", b"hello", "text/plain")})
EVENTS = "/api/executions/{graph_exec_id}/events"
GRAPH_EVENTS = "/api/graphs/{graph_id}/events"
CREDITS = "/api/credits"
INTEGRATIONS = "/api/integrations"
SCHEDULES = "/api/schedules"
SCORES = "/api/executions/admin"
RUN = "/api/graphs/{graph_id}/executions/{graph_exec_id}"
V1 = "/external-api/v1"


def paid_event(ids: Ids) -> Any:
    """Stripe says that a top-up is paid."""
    return Sent(signed(ids["event"].encode()))


OPERATIONS = [
    Operation("GET", "/health", 1),
    Operation("POST", "/api/analytics/log_raw_analytics", 1, {"type": "t", "data": {}, "data_index": "i"}),
    Operation("POST", "/api/analytics/log_raw_metric", 1, {"metric_name": "m", "metric_value": 1, "data_string": "s"}),
    Operation("GET", "/api/api-keys", 1),
    Operation("POST", "/api/api-keys", 2, KEY),
    Operation("GET", "/api/api-keys/{key_id}", 1),
    Operation("DELETE", "/api/api-keys/{key_id}", 1),
    Operation("PUT", "/api/api-keys/{key_id}/permissions", 1, {"permissions": ["READ_BLOCK"]}),
    Operation("POST", "/api/api-keys/{key_id}/resume", 1),
    Operation("POST", "/api/api-keys/{key_id}/suspend", 1),
    Operation("POST", "/api/auth/user", 1),
    Operation("POST", "/api/auth/user/email", 2, "ann2@example.com"),
    Operation("GET", "/api/auth/user/preferences", 1),
    Operation("POST", "/api/auth/user/preferences", 2, {"email": "a@example.com", "preferences": {}, "daily_limit": 3}),
    Operation("GET", "/api/auth/user/timezone", 1),
    Operation("POST", "/api/auth/user/timezone", 1, {"timezone": "UTC"}),
    Operation("GET", "/api/blocks", 0),
    Operation("POST", "/api/blocks/{block_id}/execute", 0, {"input": 7}),
    Operation("GET", CREDITS, 1),
    Operation("POST", CREDITS, 3, {"credit_amount": 500}),
    Operation("PATCH", CREDITS, 6),
    Operation("POST", f"{CREDITS}/admin/add_credits", 1, GRANT, admin=True),
    Operation("GET", f"{CREDITS}/admin/users_history", 2, admin=True),
    Operation("GET", f"{CREDITS}/auto-top-up", 1),
    Operation("POST", f"{CREDITS}/auto-top-up", 4, {"amount": 500, "threshold": 500}),
    Operation("GET", f"{CREDITS}/manage", 1),
    Operation("GET", f"{CREDITS}/refunds", 1),
    Operation("POST", f"{CREDITS}/stripe_webhook", 7, paid_event),
    Operation("GET", f"{CREDITS}/transactions", 1),
    Operation("POST", f"{CREDITS}/{{transaction_key}}/refund", 14, {"reason": "a mistake"}),
    Operation("POST", "/api/email", 1, BOUNCED),
    Operation("POST", "/api/email/unsubscribe", 1, query=f"?token={unsubscribe_token('ann')}"),
    Operation("GET", "/api/executions", 1),
    Operation("GET", f"{SCORES}/execution_accuracy_trends", 1, query="?graph_id={graph_id}", admin=True),
    # Without a model; tests/scoring counts what it takes with one.
    Operation("POST", f"{SCORES}/execution_analytics", 0, {"graph_id": NOBODYS_ID}, answer=409, admin=True),
    Operation("GET", f"{SCORES}/execution_analytics/config", 0, admin=True),
    Operation("POST", "/api/executions/bulk/read", 1, own_run),
    Operation("POST", "/api/executions/bulk/start", 2, lambda ids: {"runs": [{"graph_id": ids["graph_id"]}] * 3}),
    Operation("POST", "/api/executions/bulk/stop", 6, lambda ids: {"ids": [ids["other_run"]]}),
    Operation("DELETE", "/api/executions/{graph_exec_id}", 2, answer=204),
    Operation("GET", EVENTS, 5, second=True),
    Operation("POST", "/api/files/upload", 2, TEXT),
    Operation("GET", "/api/files/{file_id}/content", 1, foreign=403, query="?expires={expires}&signature={signature}"),
    Operation("GET", "/api/files/{file_id}/link", 1),
    Operation("GET", "/api/graphs", 1),
    Operation("POST", "/api/graphs", 2, {"graph": echo_graph()}),
    Operation("GET", "/api/graphs/{graph_id}", 1),
    Operation("PUT", "/api/graphs/{graph_id}", 6, echo_graph()),
    # It has a run going on, which costs four of them.
    Operation("DELETE", "/api/graphs/{graph_id}", 6, foreign=200),
    Operation("GET", GRAPH_EVENTS, 2),
    Operation("POST", "/api/graphs/{graph_id}/execute/{graph_version}", 2, {}),
    Operation("GET", "/api/graphs/{graph_id}/executions", 1, foreign=200),
    Operation("GET", RUN, 3),
    Operation("POST", f"{RUN}/share", 1),
    Operation("DELETE", f"{RUN}/share", 1, answer=204),
    Operation("POST", f"{RUN}/stop", 6, foreign=200),
    Operation("PATCH", "/api/graphs/{graph_id}/settings", 2, {"sensitive_action_safe_mode": True}),
    Operation("GET", "/api/graphs/{graph_id}/schedules", 1, foreign=200),
    Operation("POST", "/api/graphs/{graph_id}/schedules", 6, SCHEDULE),
    Operation("GET", "/api/graphs/{graph_id}/versions", 1),
    Operation("PUT", "/api/graphs/{graph_id}/versions/active", 5, {"active_graph_version": 1}),
    Operation("GET", "/api/graphs/{graph_id}/versions/{version}", 1),
    Operation("GET", f"{INTEGRATIONS}/credentials", 1),
    Operation("GET", f"{INTEGRATIONS}/providers", 0),
    Operation("GET", f"{INTEGRATIONS}/providers/constants", 0),
    Operation("GET", f"{INTEGRATIONS}/providers/enum-example", 0),
    Operation("GET", f"{INTEGRATIONS}/providers/names", 0),
    Operation("GET", f"{INTEGRATIONS}/providers/system", 0),
    Operation("GET", f"{INTEGRATIONS}/{{provider}}/credentials", 1),
    Operation("POST", f"{INTEGRATIONS}/{{provider}}/credentials", 2, SECRET, answer=201),
    Operation("GET", f"{INTEGRATIONS}/{{provider}}/credentials/{{cred_id}}", 1),
    Operation("DELETE", f"{INTEGRATIONS}/{{provider}}/credentials/{{cred_id}}", 1),
    Operation("GET", "/api/onboarding", 2),
    Operation("PATCH", "/api/onboarding", 1, {"walletShown": True}),
    Operation("GET", "/api/onboarding/agents", 0),
    Operation("GET", "/api/onboarding/enabled", 0),
    Operation("POST", "/api/onboarding/reset", 1),
    Operation("POST", "/api/onboarding/step", 2, query="?step=WELCOME"),
    Operation("GET", "/api/public/shared/{share_token}", 2),
    Operation("POST", "/api/review/action", 1, REVIEW, answer=404),
    Operation("GET", "/api/review/execution/{graph_exec_id}", 2),
    Operation("GET", "/api/review/pending", 1),
    Operation("GET", SCHEDULES, 1),
    Operation("GET", f"{SCHEDULES}/preview", 1, query="?cron=30+2+*+*+*"),
    Operation("GET", f"{SCHEDULES}/{{schedule_id}}", 1),
    Operation("DELETE", f"{SCHEDULES}/{{schedule_id}}", 1),
    Operation("PATCH", f"{SCHEDULES}/{{schedule_id}}", 4, {"graph_version": 1, "cron": "30 3 * * *"}),
    Operation("GET", f"{SCHEDULES}/{{schedule_id}}/firings", 2),
    Operation("POST", f"{SCHEDULES}/{{schedule_id}}/pause", 2),
    Operation("GET", f"{SCHEDULES}/{{schedule_id}}/preview", 1),
    Operation("POST", f"{SCHEDULES}/{{schedule_id}}/resume", 2, second=True),
    Operation("POST", f"{SCHEDULES}/{{schedule_id}}/run", 3),
    Operation("POST", "/api/ws/ticket", 0),
    Operation("GET", "/auth/v1/.well-known/jwks.json", 0),
    Operation("POST", "/auth/v1/admin/users", 1, SIGN_UP | {"email": "other@example.com"}, admin=True),
    Operation("GET", "/auth/v1/admin/users/{user_id}", 1, admin=True),
    Operation("POST", "/auth/v1/logout", 1, answer=204),
    Operation("POST", "/auth/v1/recover", 2, {"email": "ann@example.com"}),
    Operation("POST", "/auth/v1/signup", 2, SIGN_UP),
    Operation("POST", "/auth/v1/token", 1, SIGN_IN, answer=400, query="?grant_type=password"),
    Operation("GET", "/auth/v1/user", 1),
    Operation("PUT", "/auth/v1/user", 3, {"data": {"name": "Ann"}}),
    Operation("POST", "/auth/v1/verify", 1, {"type": "recovery", "token_hash": "x" * 43}, answer=403),
    Operation("GET", f"{V1}/blocks", 1),
    Operation("POST", f"{V1}/blocks/{{block_id}}/execute", 1, {"input": 7}),
    Operation("POST", f"{V1}/graphs/{{graph_id}}/execute/{{graph_version}}", 3, {}),
    Operation("GET", f"{V1}/graphs/{{graph_id}}/executions/{{graph_exec_id}}/results", 4),
    Operation("GET", f"{V1}/integrations/credentials", 2),
    Operation("GET", f"{V1}/integrations/providers", 1),
    Operation("GET", f"{V1}/integrations/{{provider}}/credentials", 2),
    Operation("POST", f"{V1}/integrations/{{provider}}/credentials", 3, SECRET, answer=201),
    Operation("DELETE", f"{V1}/integrations/{{provider}}/credentials/{{cred_id}}", 2, second=True),
    Operation("GET", f"{V1}/me", 2),
    Operation("POST", f"{V1}/tools/find-agent", 2, {"query": "echo"}),
]
