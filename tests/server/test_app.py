"""What holds for every route: who comes in, what every response carries, and how errors look."""

import json
from ipaddress import ip_network
from typing import Any

import httpx
import jwt
import msgspec
import pytest

from agentplat.accounts.models import DEFAULT_USER
from agentplat.infra.db import Database, close_database
from agentplat.infra.settings import Settings
from agentplat.server.app import create_app
from tests.support.api import Api, created, echo_graph
from tests.support.services import JWT_KEY
from tests.support.statements import said
from tests.support.switches import environment_of


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "ann", "aud": "authenticated", "exp": 2**32, **claims}, JWT_KEY, algorithm="HS256")


# --- who comes in


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "Authorization header is missing"),
        ("", "Authorization header is missing"),
        ("Basic YTpi", "Authorization header is missing"),
        ("Bearer", "Authorization header is missing"),
        (f"Bearer {token(exp=1)}", "Token has expired"),
        (f"Bearer {token(aud='anon')}", "Invalid token"),
        (f"Bearer {token(sub=None)}", "User ID not found in token"),
        ("Bearer " + jwt.encode({"sub": "ann", "aud": "authenticated", "exp": 2**32}, "x" * 40), "Invalid token"),
        ("Bearer " + jwt.encode({"sub": "ann", "aud": "authenticated", "exp": 2**32}, "", "none"), "Invalid token"),
        ("Bearer " + jwt.encode({"sub": "ann", "aud": "authenticated"}, JWT_KEY), "Invalid token"),
        (f"Bearer {token()[:-3]}", "Invalid token"),
    ],
)
async def test_without_a_valid_token_nobody_comes_in(api: Api, header: str | None, detail: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    # The body is broken as well, but that is nobody's business who has not come in.
    response = await api().post("/api/graphs", content=b"{", headers=headers)
    assert response.status_code == 401
    assert response.json()["detail"].startswith(detail)
    assert response.json()["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_the_scheme_is_not_case_sensitive(api: Api) -> None:
    assert (await api().get("/api/graphs", headers={"Authorization": f"bearer {token()}"})).status_code == 200


async def test_only_administrators_act_as_others(api: Api) -> None:
    graph = await created(api("bob"))
    act = {"X-Act-As-User-Id": "bob"}
    listed = await api("root", role="admin").get("/api/graphs", headers=act)
    assert [found["id"] for found in listed.json()] == [graph["id"]]
    refused = await api("ann").get("/api/graphs", headers=act)
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "Only admin users can impersonate other users",
    )
    unknown = await api("root", role="admin").get("/api/graphs", headers={"X-Act-As-User-Id": "nobody"})
    assert unknown.status_code == 404
    assert (await api("ann").get("/api/graphs", headers={"X-Act-As-User-Id": " "})).status_code == 200


async def test_who_acts_as_somebody_else_is_on_record(api: Api, db: Database) -> None:
    await created(api("bob"))
    root = api("root", role="admin")
    act = {"X-Act-As-User-Id": "bob", "X-Request-Id": "acting-1"}
    assert (await root.get("/api/graphs/%00%C3%A9", headers=act)).status_code == 404
    await root.get("/api/graphs", headers={"X-Act-As-User-Id": "nobody"})
    await root.get("/api/graphs", headers={"X-Act-As-User-Id": "root"})
    await api("ann").get("/api/graphs", headers=act)
    (row,) = await db.fetch("SELECT * FROM impersonations")
    assert (row["admin_id"], row["admin_email"], row["user_id"]) == ("root", "root@example.com", "bob")
    assert (row["method"], row["path"], row["request_id"]) == ("GET", "/api/graphs/%00%C3%A9", "acting-1")


# Stripe's events, links to files, and links in mails prove themselves by their signature, shared runs by their token;
# providers are the contract's public list.
PUBLIC = {
    "/health",
    "/api/public/shared/{share_token}",
    "/api/credits/stripe_webhook",
    "/api/email/unsubscribe",
    "/api/files/{file_id}/content",
    "/api/integrations/providers",
    "/api/integrations/providers/constants",
    "/api/integrations/providers/enum-example",
    "/api/integrations/providers/names",
    "/api/integrations/providers/system",
}


async def test_every_route_needs_a_token_except_the_public_ones(api: Api) -> None:
    document = (await api().get("/openapi.json")).json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            response = await api().request(method, path.replace("{", "").replace("}", ""))
            assert (response.status_code == 401) == bool(operation.get("security")), (method, path)
            assert operation.get("security") or path in PUBLIC or path.startswith("/auth/v1/")


# --- what every response carries


@pytest.mark.parametrize(
    ("method", "path", "stored"),
    [
        ("GET", "/health", False),
        ("GET", "/api/graphs", False),
        ("GET", "/nothing/here", False),
        ("GET", "/api/blocks", True),
        ("POST", "/api/blocks/x/execute", False),
        ("GET", "/openapi.json", True),
        ("GET", "/docs", True),
    ],
)
async def test_security_and_cache_headers(api: Api, method: str, path: str, stored: bool) -> None:
    headers = (await api("ann").request(method, path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-xss-protection"] == "1; mode=block"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    expected = None if stored else "no-store, no-cache, must-revalidate, private"
    assert headers.get("cache-control") == expected
    assert "x-robots-tag" not in headers


async def test_who_came_by_https_is_told_to_stay_there(settings: Settings) -> None:
    trusting = msgspec.structs.replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),))
    for proxied, expected in ((trusting, "max-age=31536000"), (settings, None)):
        transport = httpx.ASGITransport(create_app(proxied))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://agentplat") as client:
            answer = await client.get("/nothing", headers={"X-Forwarded-Proto": "https"})
            assert answer.headers.get("strict-transport-security") == expected
            assert "strict-transport-security" not in (await client.get("/nothing")).headers


async def test_shared_pages_are_not_indexed(api: Api) -> None:
    assert (await api().get("/api/public/shared/x")).headers["x-robots-tag"] == "noindex, nofollow"


async def test_a_request_keeps_the_id_that_it_came_with(api: Api) -> None:
    client = api()
    assert (await client.get("/health", headers={"X-Request-Id": "abc-1"})).headers["x-request-id"] == "abc-1"
    for unusable in ("", "a b", "x" * 65, "<script>"):
        made = (await client.get("/health", headers={"X-Request-Id": unusable})).headers["x-request-id"]
        assert made != unusable
        assert len(made) == 32


async def test_large_answers_are_compressed(api: Api) -> None:
    response = await api("ann").get("/api/blocks", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.json() == json.loads((await api("ann").get("/api/blocks", headers={"Accept-Encoding": ""})).content)
    assert "content-encoding" not in (await api().get("/health", headers={"Accept-Encoding": "gzip"})).headers


@pytest.fixture
async def browser(db: Database, settings: Settings) -> Any:
    allowed = ("https://app.example.com", r"regex:https://.*\.example\.org")
    app = create_app(msgspec.structs.replace(settings, backend_cors_allow_origins=allowed))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agentplat") as client:  # type: ignore[arg-type]
        yield client


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example.com", True),
        ("https://x.example.org", True),
        ("https://x.example.org.evil.com", False),
        ("http://app.example.com", False),
        ("null", False),
    ],
)
async def test_configured_origins_may_call(browser: httpx.AsyncClient, origin: str, allowed: bool) -> None:
    response = await browser.get("/health", headers={"Origin": origin})
    assert response.status_code == 200
    assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert response.headers.get("access-control-allow-credentials") == ("true" if allowed else None)
    assert response.headers["vary"] == "Origin"
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-anything"}
    preflight = await browser.options("/api/graphs/x", headers=asked)
    assert preflight.status_code == (200 if allowed else 400)
    assert preflight.headers.get("access-control-allow-headers") == ("x-anything" if allowed else None)
    assert ("PUT" in preflight.headers.get("access-control-allow-methods", "")) == allowed


# --- health and documents


async def test_health_asks_the_database(api: Api) -> None:
    client = api()
    assert (await client.get("/health")).json() == {"status": "healthy"}


async def test_health_is_unavailable_without_the_database(settings: Settings) -> None:
    await close_database()
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agentplat") as client:  # type: ignore[arg-type]
        response = await client.get("/health")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


# --- errors


@pytest.mark.parametrize(
    ("body", "loc", "kind", "message"),
    [
        (b"", ["body"], "missing", "The request has no body"),
        (b"{", ["body", 1], "json_invalid", "ends too early (byte 1)"),
        (b'{"graph": tru}', ["body", 14], "json_invalid", "invalid character (byte 14)"),
        (b'{"graph": {"name": "", "description": ""}} x', ["body", 44], "json_invalid", "trailing characters"),
        (b'{"graph": {"name": "\xff"}}', ["body", 20], "json_invalid", "Invalid UTF-8 at byte 20"),
        (b'{"unknown": "\xff"}', ["body", 13], "json_invalid", "Invalid UTF-8 at byte 13"),
        (b'{"graph": {"name": "\\ud800"}}', ["body", 29], "json_invalid", ""),
        (b"[]", ["body"], "type_error", "Expected `object`, got `array`"),
        (b"{}", ["body", "graph"], "missing", "This field is required"),
        (b'{"graph": {"name": "x"}}', ["body", "graph", "description"], "missing", "This field is required"),
        (b'{"graph": {"name": 1}}', ["body", "graph", "name"], "type_error", "Expected `str`, got `int`"),
        (
            b'{"graph": {"name": "", "description": "", "nodes": [{"block_id": "a"}, {"block_id": 3}]}}',
            ["body", "graph", "nodes", 1, "block_id"],
            "type_error",
            "Expected `str`, got `int`",
        ),
        (
            b'{"graph": {"name": "", "description": "", "version": 99999999999}}',
            ["body", "graph", "version"],
            "type_error",
            "<= 2147483647",
        ),
        (b'{"source": "mail", "graph": {}}', ["body", "source"], "value_error", "Invalid enum value 'mail'"),
        (b'{"graph": {"nodes": [{"input_default": {"a": 1e999}}]}}', None, "value_error", "Number out of range"),
        (b'{"graph": {"nodes": [{"input_default": ' + b'{"a":' * 5000, ["body"], "json_invalid", "nested too deeply"),
    ],
)
async def test_a_body_that_is_not_as_expected_says_where(
    api: Api, body: bytes, loc: list[Any] | None, kind: str, message: str
) -> None:
    response = await api("ann").post("/api/graphs", content=body)
    assert response.status_code == 422, response.text
    answer = response.json()
    problem = answer["detail"][0]
    assert answer["code"] == "invalid"
    assert problem["type"] == kind
    assert message in problem["msg"]
    assert loc is None or problem["loc"] == loc
    assert problem["msg"] in answer["message"]


@pytest.mark.parametrize(
    ("path", "loc"),
    [
        ("/api/graphs/x?version=abc", ["query", "version"]),
        ("/api/graphs/x?version=0", ["query", "version"]),
        ("/api/graphs/x?version=99999999999", ["query", "version"]),
        ("/api/graphs/x?for_export=perhaps", ["query", "for_export"]),
        ("/api/graphs/x/versions/abc", ["path", "version"]),
        ("/api/graphs/x/versions/99999999999", ["path", "version"]),
    ],
)
async def test_a_parameter_that_is_not_as_expected_is_named(api: Api, path: str, loc: list[str]) -> None:
    response = await api("ann").get(path)
    assert response.status_code == 422, response.text
    assert response.json()["detail"][0]["loc"] == loc


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused(api: Api, settings: Settings, announced: bool) -> None:
    body = b"x" * (10 * 1024 * 1024)

    async def chunks() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    response = await api("ann").post("/api/graphs", content=body if announced else chunks())
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert f"exceeds the maximum allowed size of {settings.max_request_bytes} bytes" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("PATCH", "/api/graphs", 405, "method_not_allowed"),
        ("GET", "/api/graphs/%00%ff", 404, "not_found"),
    ],
)
async def test_errors_of_the_http_layer_have_the_same_form(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    response = await api("ann").request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["detail"] == response.json()["message"]


async def test_what_nobody_foresaw_is_told_by_its_id_only(api: Api, db: Database) -> None:
    await db.execute("ALTER TABLE graph_versions RENAME TO hidden")
    try:
        response = await api("ann").get("/api/graphs", headers={"X-Request-Id": "r-1"})
    finally:
        await db.execute("ALTER TABLE hidden RENAME TO graph_versions")
    assert response.status_code == 500
    assert response.json()["request_id"] == "r-1"
    assert "graph_versions" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_large_graph_costs_no_more_statements(api: Api) -> None:
    graph = echo_graph()
    nodes = [dict(graph["nodes"][1], id=str(i)) for i in range(2000)]
    links = [dict(graph["links"][1], source_id=str(i), sink_id=str(i + 1), sink_name="input") for i in range(1999)]
    with said() as few:
        small = await created(api("ann"))
        await api("ann").get(f"/api/graphs/{small['id']}")
    with said() as statements:
        stored = await created(api("ann"), nodes=nodes, links=links)
        assert (await api("ann").get(f"/api/graphs/{stored['id']}")).json() == stored
    # The first of all was Ann's first, too.
    assert 0 < len(statements) <= len(few)


async def test_without_authentication_everybody_is_the_default_user(api: Api) -> None:
    with environment_of(ENABLE_AUTH="false"):
        assert (await created(api()))["user_id"] == DEFAULT_USER.id
