"""Every error of the API in one form: `code` for programs, `message` and `detail` for people, `hint` where one helps.

`detail` is what the AutoGPT Platform contract's clients read: a text, an object with `message`, or for invalid requests
a list of `{type, loc, msg}`.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
import redis.exceptions
from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from agentplat.infra.errors import AppError, Invalid, NotFound, TooLarge, Unavailable
from agentplat.infra.telemetry import get_logger

_log = get_logger(__name__)

# Postgres or Redis is down, restarting, full, or has chosen us to give way: not our mistake, and over soon. A socket
# that isn't there, or a name that leads nowhere, is an OSError.
UNREACHABLE = (
    OSError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)
RETRY_SECONDS = 5

# Far beyond what anybody draws, and far from where code that follows a value downwards runs out of stack.
MAX_NESTING = 100

# Supabase's clients look at the `code` only of answers of the API's version that has codes.
SIGN_IN = "/auth/v1/"
CODES_ARE_TOLD = {"X-Supabase-Api-Version": "2024-01-01"}

# Path parameters by whose name one sees that they are no mere ids.
_SECRET = re.compile("token|secret|signature|password")
_PLACE = re.compile(r" - at (?:`key` in )?`(?:(?:key|value) in )?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"^Object missing required field `(.+?)`")
_ABSENT = re.compile(r"^Missing required (\w+) parameter '(.+?)'")


def render(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """The one place where an exception becomes a response."""
    known = _known(request, error)
    body: dict[str, Any] = {
        "code": known.code,
        "message": known.message,
        "detail": known.message if known.detail is None else known.detail,
    }
    if known.hint:
        body["hint"] = known.hint
    if known.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        body["request_id"] = request.scope.get("request_id")
        _log.error("request_failed", method=request.method, path=_logged_path(request), code=known.code, exc_info=error)
    headers = dict(known.headers)
    if request.scope["path"].startswith(SIGN_IN):
        headers |= CODES_ARE_TOLD
    if isinstance(known, Unavailable):
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    return Response(body, status_code=known.status, headers=headers, media_type="application/json")


def _logged_path(request: Request[Any, Any, Any]) -> str:
    """The path, or its template where one of its parameters lets in whoever knows it."""
    scope: Any = request.scope
    if any(_SECRET.search(name) for name in scope.get("path_params", ())):
        return str(scope["path_template"])
    return str(scope["path"])


def _known(request: Request[Any, Any, Any], error: Exception) -> AppError:
    if isinstance(error, AppError):
        # The text of an error that nobody foresaw may hold anything, so only its id goes out.
        return error if error.status != HTTPStatus.INTERNAL_SERVER_ERROR else AppError(hint=_HINT)
    if isinstance(error, ValidationException):
        return _invalid_parameters(request, error)
    if isinstance(error, RequestEntityTooLarge):
        limit = request.app.request_max_body_size
        return TooLarge(f"The request exceeds the maximum allowed size of {limit} bytes")
    if isinstance(error, HTTPException):
        return _of_http(request, error)
    if isinstance(error, asyncpg.CharacterNotInRepertoireError):
        return invalid([_problem("value_error", ["request"], "A text contains the character U+0000")])
    if isinstance(error, UNREACHABLE) or _is_lost(error):
        return Unavailable()
    return AppError(hint=_HINT)


def _is_lost(error: Exception) -> bool:
    """A connection that went away between two statements. What else is an InterfaceError is a mistake of ours."""
    return isinstance(error, asyncpg.InterfaceError) and "connection is closed" in str(error)


_HINT = "Please report this with the request id; the server's log has the cause under it."


class _HttpError(AppError):
    """An error of the HTTP layer itself, such as a method that a path does not have."""

    def __init__(self, status: int, message: str, headers: dict[str, str]) -> None:
        super().__init__(message, headers=headers)
        self.status = status
        self.code = re.sub("[^a-z]+", "_", HTTPStatus(status).phrase.lower())


def _of_http(request: Request[Any, Any, Any], error: HTTPException) -> AppError:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(f"There is nothing at {request.method} {request.scope['path']}")
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return AppError(hint=_HINT)
    return _HttpError(error.status_code, error.detail, dict(error.headers or {}))


def _invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Invalid:
    extra = error.extra if isinstance(error.extra, list) else []
    problems = [_parameter_problem(request, item) for item in extra if isinstance(item, dict) and "message" in item]
    if not problems and (absent := _ABSENT.match(error.detail)):
        problems = [_problem("missing", absent.groups(), "This parameter is required")]
    return invalid(problems or [_problem("value_error", ["request"], error.detail)])


def _parameter_problem(request: Request[Any, Any, Any], item: dict[str, Any]) -> dict[str, Any]:
    source, key = item.get("source", "request"), str(item.get("key", ""))
    if (source, key) == ("body", "data"):
        # What is in a body was checked when it was decoded: this one was not there.
        return _problem("missing", ["body"], "The request has no body")
    # Litestar says what the handler calls it.
    parameter = request.route_handler.parsed_fn_signature.parameters.get(key)
    key = getattr(parameter.kwarg_definition, "name", None) or key if parameter else key
    return _problem("value_error", [source.value if isinstance(source, ParamType) else source, key], item["message"])


def invalid(problems: list[dict[str, Any]]) -> Invalid:
    """The message is the first problem with its place, for clients that show nothing else."""
    first = problems[0]
    place = ".".join(str(step) for step in first["loc"])
    return Invalid(f"{place}: {first['msg']}", detail=problems, hint="Correct the named places and send it again.")


def too_deep() -> Invalid:
    return invalid(
        [_problem("json_invalid", ["body"], f"The JSON is nested too deeply, more than {MAX_NESTING} levels")]
    )


def invalid_body(error: Exception, body: bytes) -> Invalid:
    """Why a body is not what an operation expects, and where."""
    if isinstance(error, UnicodeDecodeError):
        return invalid([_problem("json_invalid", ["body", error.start], f"Invalid UTF-8 at byte {error.start}")])
    if isinstance(error, RecursionError):
        return too_deep()
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        found = re.search(r"\(byte (\d+)\)", text)
        position = int(found.group(1)) if found else len(body)
        shown = text if found else f"The JSON ends too early (byte {position})"
        return invalid([_problem("json_invalid", ["body", position], shown)])
    place = _PLACE.search(text)
    loc: list[str | int] = ["body", *(_steps(place.group(1)) if place else ())]
    message = text[: place.start()] if place else text
    if missing := _MISSING.match(message):
        return invalid([_problem("missing", [*loc, missing.group(1)], "This field is required")])
    return invalid([_problem("type_error" if message.startswith("Expected `") else "value_error", loc, message)])


def _steps(path: str) -> list[str | int]:
    return [name or (int(index) if index.isdigit() else index) for name, index in _STEP.findall(path)]


def _problem(kind: str, loc: Sequence[str | int], message: str) -> dict[str, Any]:
    return {"type": kind, "loc": list(loc), "msg": message}
