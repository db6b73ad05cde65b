"""A server that speaks Stripe's wire format, as far as this platform asks for it.

It is strict where Stripe is: keys are checked, an idempotency key stands for one request and gives its first answer
again, also an error; amounts can't be refunded twice. What people do at Stripe (pay, dispute) are methods, and `event`
signs what Stripe would tell of it.
"""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

API_KEY = "sk_test_" + "4" * 24
WEBHOOK_SECRET = "whsec_" + "5" * 24

Answer = tuple[int, dict[str, Any]]


class Refused(Exception):
    def __init__(self, status: int, kind: str, code: str, message: str = "Refused") -> None:
        super().__init__(message)
        self.answer: Answer = status, {"error": {"type": kind, "code": code, "message": message}}


class FakeStripe:
    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.cards: dict[str, list[str]] = {}
        self.declined: set[str] = set()
        # Cards that nothing can be asked of, as if their owner had taken them away.
        self.refused: set[str] = set()
        self.refund_status = "succeeded"
        # Paths whose answers get lost, how many times each: the work is done all the same.
        self.lost: dict[str, int] = {}
        # (method, path, parameters) of all requests that were carried out, without repetitions under a key.
        self.done: list[tuple[str, str, dict[str, Any]]] = []
        self.url = ""
        self._answers: dict[str, tuple[Any, Answer]] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()

    def made(self, path: str) -> list[dict[str, Any]]:
        """The parameters of what was made at `path`."""
        return [params for method, at, params in self.done if (method, at) == ("POST", path)]

    # What people do

    def pay(self, session_id: str, discount: int = 0) -> dict[str, Any]:
        """Pay by card on the page of a session, which keeps the card. Returns the session."""
        with self._lock:
            session = self.objects[session_id]
            total = session["amount_total"] - discount
            session |= {"status": "complete", "payment_status": "paid", "amount_total": total}
            if total == 0:
                session["payment_status"] = "no_payment_required"
                return session
            intent = self._new("pi", status="succeeded", amount_received=total, customer=session["customer"])
            intent["metadata"] = session["intent_metadata"]
            session["payment_intent"] = intent["id"]
            self.cards.setdefault(session["customer"], []).append(self._new("pm")["id"])
            return session

    def expire(self, session_id: str) -> dict[str, Any]:
        with self._lock:
            return self._update(session_id, {"status": "expired"})

    def add_card(self, customer: str, declined: bool = False) -> str:
        with self._lock:
            card: str = self._new("pm")["id"]
            self.cards.setdefault(customer, []).append(card)
            self.declined |= {card} if declined else set()
            return card

    def refund(self, intent_id: str, amount: int, status: str = "succeeded") -> dict[str, Any]:
        """As from Stripe's dashboard."""
        with self._lock:
            return self._new("re", payment_intent=intent_id, amount=amount, status=status, metadata={})

    def dispute(self, intent_id: str, amount: int) -> dict[str, Any]:
        with self._lock:
            return self._new("dp", payment_intent=intent_id, amount=amount, status="needs_response")

    def _update(self, object_id: str, members: dict[str, Any]) -> dict[str, Any]:
        self.objects[object_id] |= members
        return self.objects[object_id]

    # What Stripe tells

    def event(self, kind: str, about: dict[str, Any], **members: Any) -> dict[str, Any]:
        """The arguments of a request that tells of `about`, as it is now but for `members`."""
        with self._lock:
            event_id = f"evt_{next(self._numbers)}"
        body = {"id": event_id, "object": "event", "type": kind, "data": {"object": about | members}}
        return signed(json.dumps(body).encode())

    # What programs ask for

    def answer(self, method: str, path: str, params: dict[str, Any], key: str | None) -> Answer:
        with self._lock:
            request = (method, path, params)
            if key is not None and key in self._answers:
                first, answer = self._answers[key]
                if first != request:
                    return Refused(400, "idempotency_error", "").answer
                return answer
            try:
                answer = 200, self._carry_out(method, path.removeprefix("/v1/").split("/"), params)
            except Refused as refused:
                answer = refused.answer
            self.done.append(request)
            if key is not None:
                self._answers[key] = request, answer
            return answer

    def _carry_out(self, method: str, path: list[str], params: dict[str, Any]) -> dict[str, Any]:
        match method, path:
            case "POST", ["customers"]:
                return self._new("cus", **params)
            case "POST", ["checkout", "sessions"]:
                return self._session(params)
            case "GET", ["checkout", "sessions", session_id]:
                return self._known(session_id)
            case "GET", ["customers", customer, "payment_methods"]:
                self._known(customer)
                return _listed([self.objects[card] for card in self.cards.get(customer, [])])
            case "POST", ["payment_intents"]:
                return self._charge("pi", params, amount_received=int(params["amount"]))
            case "GET", ["payment_intents"]:
                intents = [one for name, one in self.objects.items() if name.startswith("pi_")]
                return _listed([one for one in intents if one.get("customer") == params["customer"]])
            case "POST", ["setup_intents"]:
                return self._charge("seti", params)
            case "POST", ["refunds"]:
                return self._refund(params)
            case "POST", ["billing_portal", "sessions"]:
                self._known(params["customer"])
                return self._new("bps", url=f"https://billing.stripe.test/{params['customer']}")
            case "POST", ["disputes", dispute_id, "close"]:
                self._known(dispute_id)
                return self._update(dispute_id, {"status": "lost"})
            case "POST", ["disputes", dispute_id]:
                self._known(dispute_id)
                return self._update(dispute_id, {"status": "under_review", "evidence": params["evidence"]})
        raise Refused(404, "invalid_request_error", "unknown_url")

    def _session(self, params: dict[str, Any]) -> dict[str, Any]:
        self._known(params["customer"])
        price = params["line_items"]["0"]["price_data"]
        session = self._new(
            "cs",
            customer=params["customer"],
            client_reference_id=params["client_reference_id"],
            status="open",
            payment_status="unpaid",
            payment_intent=None,
            amount_total=int(price["unit_amount"]),
            intent_metadata=params["payment_intent_data"]["metadata"],
        )
        session["url"] = f"https://checkout.stripe.test/{session['id']}"
        return session

    def _charge(self, prefix: str, params: dict[str, Any], **members: Any) -> dict[str, Any]:
        card = params["payment_method"]
        if card in self.refused or card not in self.cards.get(params["customer"], []):
            raise Refused(400, "invalid_request_error", "resource_missing")
        if card in self.declined:
            raise Refused(402, "card_error", "card_declined", "Your card was declined.")
        return self._new(
            prefix, status="succeeded", customer=params["customer"], metadata=params.get("metadata", {}), **members
        )

    def _refund(self, params: dict[str, Any]) -> dict[str, Any]:
        intent = self._known(params["payment_intent"])
        refunds = [one for name, one in self.objects.items() if name.startswith("re_")]
        back = sum(one["amount"] for one in refunds if one["payment_intent"] == intent["id"])
        left = intent["amount_received"] - back
        if left <= 0:
            raise Refused(400, "invalid_request_error", "charge_already_refunded")
        return self._new(
            "re", payment_intent=intent["id"], amount=left, status=self.refund_status, metadata=params["metadata"]
        )

    def _known(self, object_id: str) -> dict[str, Any]:
        if object_id not in self.objects:
            raise Refused(404, "invalid_request_error", "resource_missing")
        return self.objects[object_id]

    def _new(self, prefix: str, **members: Any) -> dict[str, Any]:
        object_id = f"{prefix}_{next(self._numbers)}"
        self.objects[object_id] = {"id": object_id, "metadata": {}, **members}
        return self.objects[object_id]


def _listed(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": objects, "has_more": False}


def signed(payload: bytes, secret: str = WEBHOOK_SECRET, at: float | None = None) -> dict[str, Any]:
    """The arguments of a request with this payload, signed as Stripe does."""
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + payload, hashlib.sha256).hexdigest()
    return {"content": payload, "headers": {"Stripe-Signature": f"t={moment},v1={digest}"}}


def _nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """`a[b][0]=c` as {"a": {"b": {"0": "c"}}}."""
    whole: dict[str, Any] = {}
    for name, value in pairs:
        inner, steps = whole, name.replace("]", "").split("[")
        for step in steps[:-1]:
            inner = inner.setdefault(step, {})
        inner[steps[-1]] = value
    return whole


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        stripe = self.server.stripe
        if (given := self.headers["Authorization"]) != f"Bearer {API_KEY}":
            text = f"Invalid API Key provided: {given}"
            status, answer = Refused(401, "invalid_request_error", "api_key_invalid", text).answer
        else:
            key = self.headers.get("Idempotency-Key") if method == "POST" else None
            params = _nested(parse_qsl(parts.query if method == "GET" else body))
            status, answer = stripe.answer(method, parts.path, params, key)
            if stripe.lost.get(parts.path, 0) > 0:
                stripe.lost[parts.path] -= 1
                self.close_connection = True
                return
        document = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.send_header("Request-Id", "req_test")
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stripe: FakeStripe


@contextmanager
def running() -> Iterator[FakeStripe]:
    stripe = FakeStripe()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.stripe = stripe
        stripe.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield stripe
        finally:
            server.shutdown()
            thread.join()
