"""Starting and waiting as clients do it: over HTTP, at the real server."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.client import User
from tests.support.conditions import until
from tests.support.drawing import GATE, INPUT, OUTPUT, Drawing, draw
from tests.support.gates import Gate

# The longest that a request may ask for.
WHOLE_WAIT = 60


@pytest.fixture
async def user(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(base_url, make_token(f"waiter-{uuid4()}")) as one:
        yield one


ECHO = draw(
    {"in": (INPUT, {"name": "said", "value": "hello"}), "out": (OUTPUT, {"name": "heard"})}, "in.result -> out.value"
)


def gated(gate: Gate) -> Drawing:
    """A run that lasts until the gate is open."""
    return draw({"s": (GATE, {"v": 7, "path": gate.path}), "out": (OUTPUT, {"name": "o"})}, "s.out -> out.value")


def path(graph: dict[str, Any]) -> str:
    return f"/api/graphs/{graph['id']}/execute/{graph['version']}"


async def execute(user: User, graph: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await user.http.post(path(graph), json={}, headers=named)


async def ask(user: User, run: dict[str, Any], prefer: str) -> httpx.Response:
    return await user.http.get(f"/api/graphs/{run['graph_id']}/executions/{run['id']}", headers={"Prefer": prefer})


async def test_one_request_starts_a_run_and_has_its_outputs(user: User) -> None:
    graph, _ = await user.create(ECHO)
    answer = await execute(user, graph, Prefer="wait=30")
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    run = answer.json()
    assert (run["status"], run["outputs"]) == ("COMPLETED", {"heard": ["hello"]})
    assert run["stats"]["node_exec_count"] == 2
    assert "node_executions" not in run


def questions(answer: httpx.Response) -> int:
    """How often the request has asked the database."""
    told = re.search(r'db;dur=[\d.]+;desc="(\d+)"', answer.headers["server-timing"])
    assert told is not None
    return int(told.group(1))


async def test_who_waits_is_woken(user: User) -> None:
    """By the end of the run, and not by that of the wait, which nobody here has the patience for."""
    graph, _ = await user.create(ECHO)
    user.http.timeout = httpx.Timeout(WHOLE_WAIT / 2)
    for _ in range(30):
        answer = await execute(user, graph, Prefer=f"wait={WHOLE_WAIT}")
        assert answer.json()["status"] == "COMPLETED"


async def test_who_waits_does_not_ask_meanwhile(user: User, gate: Gate) -> None:
    """Once before the wait and once after it, however long that is."""
    graph, _ = await user.create(gated(gate))
    run = (await execute(user, graph)).json()

    async def begun() -> bool:
        seen = await user.look(run)
        return any(one["status"] == "RUNNING" for one in seen["node_executions"])

    await until(begun)
    looked = questions(await ask(user, run, "wait=0"))
    assert [questions(await ask(user, run, f"wait={seconds}")) for seconds in (1, 2)] == [looked + 1] * 2
    gate.open()


async def test_a_run_that_takes_longer_is_answered_as_it_stands(user: User, gate: Gate) -> None:
    graph, _ = await user.create(gated(gate))
    began = time.perf_counter()
    answer = await execute(user, graph, Prefer="wait=1")
    assert time.perf_counter() - began >= 1
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=1")
    run = answer.json()
    assert run["status"] == "RUNNING"
    assert "outputs" not in run
    gate.open()
    seen = await ask(user, run, "wait=30")
    assert seen.headers["preference-applied"] == "wait=30"
    assert (seen.json()["status"], seen.json()["outputs"]) == ("COMPLETED", {"o": [7]})
    assert len(seen.json()["node_executions"]) == 2


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("wait=600", "wait=60"), ("wait=0", "wait=0"), ("wait=soon", None), ("return=minimal", None)],
)
async def test_what_was_applied_is_said(user: User, prefer: str, applied: str | None) -> None:
    graph, _ = await user.create(ECHO)
    answer = await execute(user, graph, Prefer=prefer)
    assert answer.headers.get("preference-applied") == applied
    assert ("outputs" in answer.json()) == (applied == "wait=60")
    assert (await ask(user, answer.json(), prefer)).headers.get("preference-applied") == applied


async def test_waiting_for_what_is_not_there(user: User) -> None:
    graph, _ = await user.create(ECHO)
    nothing = await ask(user, {"graph_id": graph["id"], "id": str(uuid4())}, "wait=30")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "run_not_found")


async def test_what_can_be_no_id_is_like_an_unknown_one(user: User) -> None:
    graph, _ = await user.create(ECHO)
    run = (await execute(user, graph)).json()
    for graph_id in (str(uuid4()), "%00", "%FF", "no-id"):
        path = f"/api/graphs/{graph_id}/executions/{run['id']}"
        seen, shared = await user.http.get(path), await user.http.post(f"{path}/share")
        assert [(one.status_code, one.json()["code"]) for one in (seen, shared)] == [(404, "run_not_found")] * 2
        stopped = await user.http.post(f"{path}/stop")
        assert (stopped.status_code, stopped.json()) == (200, None)


async def test_who_asks_again_under_its_key_gets_the_outcome(user: User, gate: Gate) -> None:
    """As after a connection that was cut while waiting."""
    graph, _ = await user.create(gated(gate))
    key = str(uuid4())
    first = await execute(user, graph, Idempotency_Key=key)
    gate.open()
    again = await execute(user, graph, Idempotency_Key=key, Prefer="wait=30")
    assert (again.headers["idempotency-replayed"], again.headers["preference-applied"]) == ("true", "wait=30")
    assert again.json()["id"] == first.json()["id"]
    assert (again.json()["status"], again.json()["outputs"]) == ("COMPLETED", {"o": [7]})
    # What is on record is the first answer.
    assert (await execute(user, graph, Idempotency_Key=key)).content == first.content


async def test_twenty_at_once_under_one_key_are_one_run(user: User) -> None:
    graph, _ = await user.create(ECHO)
    key = str(uuid4())
    answers = await asyncio.gather(*(execute(user, graph, Idempotency_Key=key, Prefer="wait=30") for _ in range(20)))
    assert {answer.json()["status"] for answer in answers} == {"COMPLETED"}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    listed = await user.http.get(f"/api/graphs/{graph['id']}/executions")
    assert listed.json()["pagination"]["total_items"] == 1


async def test_two_hundred_wait_at_once(user: User, gate: Gate) -> None:
    graph, _ = await user.create(gated(gate))
    run = (await execute(user, graph)).json()
    async with httpx.AsyncClient(
        base_url=user.url,
        headers=user.http.headers,
        timeout=WHOLE_WAIT / 2,  # so that only who is woken is answered
        limits=httpx.Limits(max_connections=None),
    ) as http:
        user.http, own = http, user.http
        waiting = asyncio.gather(*(ask(user, run, f"wait={WHOLE_WAIT}") for _ in range(200)))
        assert (await ask(user, run, "wait=1")).json()["status"] == "RUNNING"
        gate.open()
        answers = await waiting
        user.http = own
    assert {answer.json()["status"] for answer in answers} == {"COMPLETED"}


async def test_clients_that_leave_do_no_harm(user: User, gate: Gate) -> None:
    graph, _ = await user.create(gated(gate))
    run = (await execute(user, graph)).json()
    leaving = httpx.Timeout(30, read=0.01)
    for _ in range(20):
        with pytest.raises(httpx.ReadTimeout):
            await user.http.get(
                f"/api/graphs/{graph['id']}/executions/{run['id']}", headers={"Prefer": "wait=30"}, timeout=leaving
            )
    gate.open()
    assert (await ask(user, run, "wait=30")).json()["status"] == "COMPLETED"
