"""What becomes of exceptions, wherever they come from."""

import json
import logging
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import redis.exceptions
from litestar import Litestar, get
from litestar.exceptions import HTTPException, PermissionDeniedException
from msgspec.structs import replace

from agentplat.infra.errors import AppError, Conflict, NotFound
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import configure_logging
from agentplat.server.app import create_app
from agentplat.server.errors import render


async def answer(error: Exception) -> httpx.Response:
    @get("/")
    async def fails() -> None:
        raise error

    app = Litestar([fails], exception_handlers={Exception: render}, openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://agentplat") as client:
        return await client.get("/")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("Graph #1 not found."), 404, "not_found"),
        (Conflict(), 409, "conflict"),
        (PermissionDeniedException("No"), 403, "forbidden"),
        (HTTPException("I'm a teapot", status_code=418), 418, "i_m_a_teapot"),
        (HTTPException("secret text", status_code=502), 500, "internal"),
        (AppError("secret text"), 500, "internal"),
        (RuntimeError("secret text"), 500, "internal"),
        (ValueError("secret text"), 500, "internal"),
        (ConnectionRefusedError("secret text"), 503, "unavailable"),
        (TimeoutError("secret text"), 503, "unavailable"),
        (asyncpg.AdminShutdownError("secret text"), 503, "unavailable"),
        (asyncpg.DeadlockDetectedError("secret text"), 503, "unavailable"),
        (asyncpg.InterfaceError("connection is closed: secret text"), 503, "unavailable"),
        (asyncpg.InterfaceError("the server expects 1 argument: secret text"), 500, "internal"),
        (FileNotFoundError("secret text"), 503, "unavailable"),
        (redis.exceptions.ConnectionError("secret text"), 503, "unavailable"),
        (asyncpg.UniqueViolationError("secret text"), 500, "internal"),
    ],
)
async def test_every_exception_has_one_form_and_tells_no_secrets(error: Exception, status: int, code: str) -> None:
    response = await answer(error)
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code)
    assert body["message"]
    assert body["detail"] == body["message"]
    assert "secret" not in response.text
    assert ("request_id" in body) == (status >= 500)
    assert ("retry-after" in response.headers) == (status == 503)


async def test_a_secret_in_a_path_is_not_logged(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    token = str(uuid4())
    # There is no database, so both fail.
    transport = httpx.ASGITransport(create_app(settings), raise_app_exceptions=False)  # type: ignore[arg-type]
    before = logging.getLogger().handlers[:]
    try:
        configure_logging(replace(settings, log_format="json"))
        async with httpx.AsyncClient(transport=transport, base_url="http://agentplat") as client:
            answers = [await client.get(path) for path in (f"/api/public/shared/{token}", "/health")]
    finally:
        logging.getLogger().handlers[:] = before
    assert [answer.status_code >= 500 for answer in answers] == [True, True]
    logged = capsys.readouterr().err
    assert token not in logged
    failed = [json.loads(line) for line in logged.splitlines()]
    assert [one["path"] for one in failed] == ["/api/public/shared/{share_token}", "/health"]


async def test_text_that_has_no_place_in_the_database_is_the_clients_mistake() -> None:
    response = await answer(asyncpg.CharacterNotInRepertoireError("secret text"))
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert "U+0000" in response.json()["detail"][0]["msg"]
    assert "secret" not in response.text


async def test_details_hints_and_headers_go_along() -> None:
    detail: dict[str, Any] = {"type": "x", "message": "m"}
    response = await answer(Conflict("m", detail=detail, hint="Try later.", headers={"Retry-After": "1"}))
    assert response.json() == {"code": "conflict", "message": "m", "detail": detail, "hint": "Try later."}
    assert response.headers["retry-after"] == "1"
