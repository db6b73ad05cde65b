"""What holds for every operation of the API alike, driven by the document that describes it.

Nobody gets at what isn't theirs, and nobody learns whether it is there. No operation costs more statements than is
known, however many things it shows.
"""

import json
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from redis.asyncio import Redis

from agentplat.credits import gateway
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.realtime.service import following
from agentplat.runs import queries
from agentplat.server.app import create_app
from agentplat.server.openapi import document
from tests.support.api import NOBODYS_ID, Api, created, leaving
from tests.support.conditions import until
from tests.support.elsewhere import ELSEWHERE, credentials, named
from tests.support.operations import CREDITS, INTEGRATIONS, OPERATIONS, PLAIN, SCHEDULE, SECRET, TEXT, Ids, Operation
from tests.support.statements import said
from tests.support.stripe import API_KEY, WEBHOOK_SECRET, FakeStripe, running
from tests.support.switches import environment_of
from tests.support.vault import VAULT

PERMISSIONS = [
    "IDENTITY",
    "READ_BLOCK",
    "EXECUTE_BLOCK",
    "EXECUTE_GRAPH",
    "READ_GRAPH",
    "READ_INTEGRATIONS",
    "MANAGE_INTEGRATIONS",
    "DELETE_INTEGRATIONS",
    "USE_TOOLS",
]
# Of Ann's, at the beginning.
RUNS = 4
BY_NAME = {one.name: one for one in OPERATIONS}


@pytest.fixture(scope="module")
def served() -> dict[str, dict[str, Any]]:
    """The operations of the document, by method and path."""
    paths = json.loads(document(create_app(Settings())))["paths"]
    return {f"{method.upper()} {path}": one for path, item in paths.items() for method, one in item.items()}


@pytest.fixture
async def stripe(db: Database) -> AsyncIterator[FakeStripe]:
    with running() as server:
        yield server
        await gateway.close()


def surroundings(operation: Operation, stripe: FakeStripe) -> AbstractContextManager[None]:
    """What the operation is called in: payments cost statements elsewhere, and are not set up as a rule."""
    return payments(stripe) if operation.paid else nullcontext()


def payments(stripe: FakeStripe) -> AbstractContextManager[None]:
    return environment_of(
        ENABLE_CREDIT="true",
        STRIPE_API_KEY=API_KEY,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_BASE_URL=stripe.url,
    )


@pytest.fixture
async def ids(api: Api, db: Database, redis: Redis, stripe: FakeStripe) -> AsyncIterator[Ids]:
    """What belongs to Ann: several of each, and one of each by the name that paths have for it."""
    await queries.ensure_partition(now().date())  # as workers do
    ann = api("ann")
    graph = (await created(ann), await created(ann), await created(ann))[0]
    runs = [await ok(ann.post(f"/api/graphs/{graph['id']}/execute/1", json={})) for _ in range(RUNS)]
    shared = await ok(ann.post(f"/api/graphs/{graph['id']}/executions/{runs[0]['id']}/share"))
    keys = [(await key_of(ann, *PERMISSIONS)) for _ in range(2)]
    schedules = [await ok(ann.post(f"/api/graphs/{graph['id']}/schedules", json=SCHEDULE)) for _ in range(3)]
    credentials = [await ok(ann.post(f"{INTEGRATIONS}/github/credentials", json=SECRET), 201) for _ in range(3)]
    files = [await ok(ann.post("/api/files/upload", **TEXT)) for _ in range(2)]
    link = await ok(ann.get(f"/api/files/{files[0]['file_id']}/link"))
    await ok(ann.post(f"/api/schedules/{schedules[1]['id']}/pause"))
    await ok(ann.post("/api/executions/bulk/stop", json={"ids": [runs[3]["id"]]}))
    belongings = {
        "user_id": "ann",
        "graph_id": graph["id"],
        "graph_exec_id": runs[0]["id"],
        "second_graph_exec_id": runs[3]["id"],
        "other_run": runs[1]["id"],
        "share_token": shared["share_token"],
        "key_id": keys[1]["api_key"]["id"],
        "api_key": keys[0]["plain_text_key"],
        "schedule_id": schedules[0]["id"],
        "second_schedule_id": schedules[1]["id"],
        "cred_id": credentials[0]["id"],
        "second_cred_id": credentials[1]["id"],
        "file_id": files[0]["file_id"],
        **dict(parse_qsl(urlsplit(link["url"]).query)),
        **await bought(ann, stripe),
    }
    async with following():  # for the streams
        yield belongings


async def ok(call: Any, status: int = 200) -> Any:
    answer: httpx.Response = await call
    assert answer.status_code == status, answer.text
    return answer.json()


async def bought(client: httpx.AsyncClient, stripe: FakeStripe) -> Ids:
    """Two top-ups that are on the account, two that are paid and not known to be, one that waits to be paid. Stripe
    tells of one of them."""
    with payments(stripe):
        urls = [(await ok(client.post(CREDITS, json={"credit_amount": 1000})))["checkout_url"] for _ in range(2)]
        paid = [stripe.pay(url.rpartition("/")[2]) for url in urls]
        assert (await client.patch(CREDITS)).status_code == 200
        urls = [(await ok(client.post(CREDITS, json={"credit_amount": 500})))["checkout_url"] for _ in range(3)]
        session, _ = (stripe.pay(url.rpartition("/")[2]) for url in urls[:2])
        told = stripe.event("checkout.session.completed", session)
    return {"transaction_key": paid[0]["payment_intent"], "event": told["content"].decode()}


async def key_of(client: httpx.AsyncClient, *permissions: str) -> dict[str, Any]:
    answer = await client.post("/api/api-keys", json={"name": "program", "permissions": permissions})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def needs_key(operation: dict[str, Any]) -> bool:
    return "x-required-permission" in operation


def test_every_operation_has_a_line(served: dict[str, Any]) -> None:
    assert sorted(served) == sorted(BY_NAME)
    assert len(BY_NAME) == len(OPERATIONS)
    for name, one in BY_NAME.items():
        assert ("/admin/" in name) == one.admin, "administrators' operations are known by their path"


def with_nobodys_ids(name: str) -> tuple[str, str, Mapping[str, Any]]:
    return BY_NAME[name].call(defaultdict(lambda: NOBODYS_ID))


async def test_nobody_comes_in_without_a_token_that_is_good(api: Api, served: dict[str, Any]) -> None:
    strangers = (
        api(),
        api("ann", exp=int(time.time()) - 60),
        api("ann", aud="somebody-else"),
        api("ann", role="admin", aud=None),
    )
    for name, operation in served.items():
        if operation.get("security") != [{"HTTPBearerJWT": []}]:
            continue
        method, url, sent = with_nobodys_ids(name)
        for stranger in strangers:
            answer = await stranger.request(method, url, **sent)
            assert (name, answer.status_code, answer.json()["code"]) == (name, 401, "unauthenticated")
        # Who is no administrator doesn't act as anybody else either.
        answer = await api("bob").request(method, url, **sent, headers={"X-Act-As-User-Id": "ann"})
        assert (name, answer.status_code) == (name, 403)


async def test_programs_need_a_key_with_the_permission(
    api: Api, db: Database, served: dict[str, Any], redis: Redis
) -> None:
    ann = api("ann", role="admin")
    suspended, revoked, expired = [await key_of(ann, *PERMISSIONS) for _ in range(3)]
    await ok(ann.post(f"/api/api-keys/{suspended['api_key']['id']}/suspend"))
    await ok(ann.delete(f"/api/api-keys/{revoked['api_key']['id']}"))
    await db.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", expired["api_key"]["id"])
    over = [one["plain_text_key"] for one in (suspended, revoked, expired)]
    for name, operation in served.items():
        if not needs_key(operation):
            continue
        needed = operation["x-required-permission"]
        method, url, sent = with_nobodys_ids(name)
        # Whoever it is otherwise: a token is no key, and a wrong key is not made good by one.
        for key in (None, "", "agpt_" + "A" * 43, "é".encode(), *over):
            answer = await ann.request(method, url, **sent, headers={} if key is None else {"X-API-Key": key})
            assert (name, answer.status_code, answer.json()["code"]) == (name, 401, "unauthenticated")
        others = await key_of(ann, *(one for one in PERMISSIONS if one != needed))
        refused = await api().request(method, url, **sent, headers={"X-API-Key": others["plain_text_key"]})
        assert (name, refused.status_code, refused.json()["code"]) == (name, 403, "permission_missing")
        assert refused.json()["detail"].endswith(needed)
        enough = await key_of(ann, needed)
        allowed = await api().request(method, url, **sent, headers={"X-API-Key": enough["plain_text_key"]})
        assert allowed.status_code not in (401, 403, 500), (name, allowed.text)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.admin], ids=lambda one: one.name)
async def test_administrators_are_asked_for(api: Api, ids: Ids, stripe: FakeStripe, operation: Operation) -> None:
    method, url, sent = operation.call(ids)
    with surroundings(operation, stripe):
        refused = await api("bob").request(method, url, **sent)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await api("root", role="admin").request(method, url, **sent)).status_code == operation.answer


async def test_what_is_somebody_elses_is_not_there(
    api: Api, db: Database, served: dict[str, Any], ids: Ids, stripe: FakeStripe
) -> None:
    """A foreign id and an unknown one get the same answer to the byte, and neither changes anything."""
    bob = api("bob")
    program = api()
    program.headers["X-API-Key"] = (await key_of(bob, *PERMISSIONS))["plain_text_key"]
    own = {"graph_id": (await created(bob))["id"]}
    nobodys = {name: ids[name] if name in LINK else NOBODYS_ID for name in ids}
    before = await contents(db)
    for operation in (one for one in OPERATIONS if one.ids and not one.admin):
        document = served[operation.name]
        client = program if needs_key(document) else bob
        # What is public is nobody's: whoever has its id may see it.
        foreign = ids if document.get("security") else nobodys
        given = [foreign, nobodys]
        if len(operation.ids) > 1:
            given += [foreign | own, nobodys | own]
        with surroundings(operation, stripe):
            answers = {await said_to(client, operation, one) for one in given}
            assert [(operation.name, status) for status, _ in answers] == [(operation.name, operation.foreign)], answers
            for malformed in ("not-an-id", "%00", "a" * 3000):
                status, text = await said_to(client, operation, nobodys | dict.fromkeys(ids.keys() - LINK, malformed))
                assert status in (operation.foreign, 404, 422), (operation.name, malformed, text)
        assert await contents(db) == before, operation.name


async def test_every_name_elsewhere_has_a_line(served: dict[str, Any], api: Api) -> None:
    described = named((await api().get("/openapi.json")).json())
    assert described - {(one.operation, one.member) for one in ELSEWHERE} == set()


async def test_what_is_named_elsewhere_is_not_there_either(api: Api, db: Database, ids: Ids) -> None:
    """In bodies and queries, a foreign id and an unknown one get the same answer, but for what the answer made up."""
    review = "00000000-0000-4000-8000-00000000000a"
    await db.execute(
        "INSERT INTO reviews (node_exec_id, user_id, run_id, node_id, graph_id, graph_version, payload, created_at)"
        " SELECT $1, 'ann', id, 'n', graph_id, 1, '1', now() FROM runs WHERE id = $2",
        review,
        ids["graph_exec_id"],
    )
    bob = api("bob")
    before = await contents(db, "ann")
    for one in ELSEWHERE:
        answers = set()
        for name in ((ids | {"node_exec_id": review})[one.thing], NOBODYS_ID):
            method, url, sent = one.call(await own_things(bob), name)
            answer = await bob.request(method, url, **sent)
            assert answer.status_code == one.answer, (one.operation, one.member, answer.text)
            answers.add(MADE_UP.sub("…", answer.text))
        assert len(answers) == 1, (one.operation, answers)
        assert await contents(db, "ann") == before, one.operation


# Ids and times.
MADE_UP = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z")


async def own_things(client: httpx.AsyncClient) -> Ids:
    """Somebody's graph that needs credentials, and a schedule with some."""
    graph = await created(client, nodes=[{"id": "v", "block_id": VAULT}], links=[])
    path = f"{INTEGRATIONS}/vault/credentials"
    kept = await ok(client.post(path, json=SECRET), 201)
    wanted = SCHEDULE | {"credentials": credentials(kept["id"])}
    schedule = await ok(client.post(f"/api/graphs/{graph['id']}/schedules", json=wanted))
    return {**PLAIN, "graph_id": graph["id"], "schedule_id": schedule["id"]}


# What a link to a file has besides its id.
LINK = {"expires", "signature"}


async def said_to(client: httpx.AsyncClient, operation: Operation, ids: Ids) -> tuple[int, str]:
    """The answer without what was asked for."""
    method, url, sent = operation.call(ids)
    answer = await client.request(method, url, **sent)
    text = answer.text
    for one in operation.ids:
        text = text.replace(operation.own(ids)[one], "ID")
    return answer.status_code, text


async def contents(db: Database, user_id: str | None = None) -> dict[str, str]:
    """What all tables hold, or hold of one user, but for when a key was last used."""
    tables = await db.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    )
    row = "(to_jsonb(t) - 'last_used_at')::text"
    whose = "WHERE $1::text IS NULL OR to_jsonb(t) ->> 'user_id' = $1"
    return {
        name: await db.fetchval(
            f"SELECT md5(string_agg({row}, '' ORDER BY {row})) FROM \"{name}\" AS t {whose}", user_id
        )
        for name in (one["relname"] for one in tables)
    }


# What happens in the background: who hears of ends of runs asks this when that begins, and once a minute a key's use is
# written down.
BACKGROUND = (
    "SELECT id FROM runs WHERE id = ANY($1::text[]) AND status IN ('COMPLETED'",
    "UPDATE api_keys SET last_used_at = now()",
)


async def test_statements_are_counted(
    api: Api, db: Database, served: dict[str, Any], ids: Ids, stripe: FakeStripe, settings: Settings
) -> None:
    """As its owner calls each. There are several of everything, so one statement per thing would show."""
    ann, root, program = api("ann"), api("root", role="admin"), api()
    program.headers["X-API-Key"] = ids["api_key"]
    await until(lambda: runs_are_counted(ann, db))
    transport = httpx.ASGITransport(leaving(create_app(settings)))
    async with httpx.AsyncClient(transport=transport, base_url=ann.base_url, headers=ann.headers) as impatient:
        wrong = {}
        for operation in sorted(OPERATIONS, key=in_order):
            client = program if needs_key(served[operation.name]) else root if operation.admin else ann
            client = impatient if operation.endless else client
            with surroundings(operation, stripe):
                status, statements = await counted(client, operation, ids)
            if (status, len(statements)) != (operation.answer, operation.statements):
                wrong[operation.name] = [status, len(statements), *statements]
        assert wrong == {}


async def runs_are_counted(client: httpx.AsyncClient, db: Database) -> bool:
    """Onboarding counts runs once they have settled, which takes it statements that no later look at it does."""
    await ok(client.get("/api/onboarding"))
    return bool(await db.fetchval("SELECT agent_runs FROM onboarding WHERE user_id = 'ann'") == RUNS)


async def counted(client: httpx.AsyncClient, operation: Operation, ids: Ids) -> tuple[int, list[str]]:
    """How the operation is answered, and its statements."""
    method, url, sent = operation.call(ids)
    if method == "GET":
        await client.get(url)  # what is remembered is known from now on
    with said() as statements:
        answer = await client.request(method, url, **sent)
    cleaned = [" ".join(one.split()) for one in statements]
    return answer.status_code, [one for one in cleaned if not one.startswith(BACKGROUND)]


def in_order(operation: Operation) -> tuple[int, int]:
    """What only looks comes first, what deletes last, and of that what is farther down first."""
    return ["GET", "POST", "PUT", "PATCH", "DELETE"].index(operation.method), -len(operation.path)
