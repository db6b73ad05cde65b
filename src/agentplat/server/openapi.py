"""The OpenAPI document: Litestar's, with what holds for all operations alike."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.enums import OpenAPIMediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.router import Router
from litestar.routes import HTTPRoute

from agentplat.infra.ndjson import LINES, NDJSON, RESULTS
from agentplat.server import docs
from agentplat.server.auth import BY_ADDRESS, PERMISSION, POSTMARK, PUBLIC
from agentplat.server.examples import add_examples, refusal
from agentplat.server.representation import ETAG, STATIC

SCHEME = "HTTPBearerJWT"
KEY_SCHEME = "ApiKey"
POSTMARK_SCHEME = "PostmarkWebhook"

# In a handler's `opt`: the type of what it answers, where that is no JSON.
CONTENT_TYPE = "content_type"

# What programs with an API key may call is below this.
EXTERNAL = "/external-api"

UNAUTHENTICATED = "HTTP401NotAuthenticatedError"
ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "detail": {},
        "hint": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "required": ["code", "message", "detail"],
}
SCHEMAS: dict[str, Any] = {
    "Error": ERROR,
    "ValidationError": {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "msg": {"type": "string"},
        },
        "required": ["loc", "msg", "type"],
    },
    "HTTPValidationError": {
        **ERROR,
        "properties": {
            **ERROR["properties"],
            "detail": {"type": "array", "items": {"$ref": "#/components/schemas/ValidationError"}},
        },
    },
}


DESCRIPTION = """\
The AutoGPT Platform contract, served by agentplat.

Every answer has `X-Request-Id`, the one of the request or a new one, and `Server-Timing`. Answers to somebody who is \
known have `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds). Every error has the form of the \
schema `Error`. Administrators may act as somebody else with `X-Act-As-User-Id`."""

# What any operation of a kind may answer, whatever its handler does.
REFUSALS = {
    "401": (UNAUTHENTICATED, "The token or API key is missing, expired or invalid."),
    "403": ("Forbidden", "This is not for you: an administrator, or somebody in person, is asked for."),
    "404": ("NotFound", "There is nothing under this id, or it is not yours; or nobody has the id to act as."),
    "408": ("TooSlow", "The request took too long to arrive."),
    "413": ("TooLarge", "The request is larger than this server accepts."),
    "422": ("Invalid", "The request does not have the expected form."),
    "429": ("TooMany", "These are too many requests; `Retry-After` says in how many seconds to try again."),
    "500": ("Failed", "Something went wrong on our side. `request_id` says under which id the log has it."),
    "503": (
        "Unavailable",
        "A service that this needs is away; `Retry-After` says in how many seconds to try again.",
    ),
}
# By type, where an answer is no JSON. Of a stream it is that of one event.
_SCHEMAS: dict[str, dict[str, Any]] = {
    "text/event-stream": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
        "required": ["data"],
    },
    "*/*": {"type": "string", "format": "binary"},
}
_IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "An `ETag` of an earlier answer: who has the present one gets 304.",
}
_ETAG: dict[str, Any] = {
    "required": True,
    "schema": {"type": "string"},
    "description": "What stands for exactly this content.",
}


class _Page(OpenAPIRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return page(request.app)


class _Document(OpenAPIRenderPlugin):
    """In place of the one that Litestar would show beside the page, which lacks what we add."""

    media_type = OpenAPIMediaType.OPENAPI_JSON

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return document(request.app)


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="agentplat",
        version=version("agentplat"),
        description=DESCRIPTION,
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                SCHEME: SecurityScheme(type="http", scheme="bearer", bearer_format="jwt"),
                KEY_SCHEME: SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
                POSTMARK_SCHEME: SecurityScheme(
                    type="apiKey", name="X-Postmark-Webhook-Token", security_scheme_in="header"
                ),
            }
        ),
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            opt={PUBLIC: True, STATIC: True},
            include_in_schema=False,
            response_headers={"Content-Security-Policy": docs.POLICY},
        ),
        render_plugins=[_Page(path="/"), _Document(path="/openapi.json")],
    )


def document(app: Litestar) -> bytes:
    return made_once(app, "document", lambda: msgspec.json.encode(_document(app)))


def external_document(app: Litestar) -> bytes:
    """The part of the document that is for programs with an API key."""
    return made_once(app, "external_document", lambda: msgspec.json.encode(_external(app)))


def page(app: Litestar) -> bytes:
    return made_once(app, "page", lambda: docs.page(msgspec.json.decode(document(app)), "/openapi.json").encode())


def external_page(app: Litestar) -> bytes:
    made = external_document(app)
    address = f"{EXTERNAL}/openapi.json"
    return made_once(app, "external_page", lambda: docs.page(msgspec.json.decode(made), address).encode())


def made_once(app: Litestar, name: str, make: Callable[[], bytes]) -> bytes:
    """The same bytes object for as long as the application lives."""
    if name not in app.state:
        app.state[name] = make()
    made: bytes = app.state[name]
    return made


def _document(app: Litestar) -> dict[str, Any]:
    schema: dict[str, Any] = _unions(app.openapi_schema.to_schema())
    components = schema.setdefault("components", {})
    components["schemas"] = dict(sorted((components.get("schemas", {}) | SCHEMAS).items()))
    components["responses"] = {name: _refusal(status, text) for status, (name, text) in REFUSALS.items()}
    for route in app.routes:
        if isinstance(route, HTTPRoute) and route.path_format in schema["paths"]:
            for handler in route.route_handlers:
                _complete(schema["paths"][route.path_format], handler, components["schemas"])
    schema["paths"] = dict(sorted(schema["paths"].items()))
    add_examples(schema)
    return schema


def _unions(value: Any) -> Any:
    """The same with `anyOf` for `oneOf`, as the contract has it: members of a union may overlap, like a run without its
    nodes and one with them, and Litestar writes `oneOf`, by which what fits two of them fits none."""
    if isinstance(value, dict):
        return {("anyOf" if name == "oneOf" else name): _unions(inner) for name, inner in value.items()}
    return [_unions(inner) for inner in value] if isinstance(value, list) else value


def _external(app: Litestar) -> dict[str, Any]:
    whole = msgspec.json.decode(document(app))
    components = whole["components"]
    paths = {path: item for path, item in whole["paths"].items() if path.startswith(f"{EXTERNAL}/")}
    named: set[str] = set()
    _collect([paths, components["responses"]], components["schemas"], named)
    components["schemas"] = {name: schema for name, schema in components["schemas"].items() if name in named}
    components["securitySchemes"] = {KEY_SCHEME: components["securitySchemes"][KEY_SCHEME]}
    return {**whole, "paths": paths}


def _collect(value: Any, schemas: dict[str, Any], named: set[str]) -> None:
    """Put the names of all schemas that `value` leads to into `named`."""
    if isinstance(value, dict):
        name = str(value.get("$ref", "")).removeprefix("#/components/schemas/")
        if name in schemas and name not in named:
            named.add(name)
            _collect(schemas[name], schemas, named)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _collect(inner, schemas, named)


def _refusal(status: str, text: str) -> dict[str, Any]:
    schema = "HTTPValidationError" if status == "422" else "Error"
    response: dict[str, Any] = {"description": text, "content": _content(status, text, schema)}
    if status in ("429", "503"):
        response["headers"] = {"Retry-After": {"required": True, "schema": {"type": "string"}}}
    return response


def _content(status: str, text: str, schema: str = "Error") -> dict[str, Any]:
    shown = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": refusal(int(status), text)}
    return {"application/json": shown}


def _complete(path_item: dict[str, Any], handler: HTTPRouteHandler, schemas: dict[str, Any]) -> None:
    for method in handler.http_methods:
        if operation := path_item.get(method.lower()):
            own = operation["responses"]
            for status in _statuses(operation, handler):
                name, _ = REFUSALS[status]
                # What an operation says of a status itself is more exact.
                own.setdefault(status, {"$ref": f"#/components/responses/{name}"})
            for status, response in own.items():
                if status >= "400" and "$ref" not in response:
                    response.setdefault("content", _content(status, response["description"]))
            if content_type := handler.opt.get(CONTENT_TYPE):
                for status in own.keys() & {"200", "206"}:
                    own[status]["content"] = {content_type: {"schema": _SCHEMAS[content_type]}}
            _describe(operation, handler)
            if member := handler.opt.get(LINES):
                _describe_lines(operation, member, schemas)
            operation["responses"] = dict(sorted(own.items()))


def _statuses(operation: dict[str, Any], handler: HTTPRouteHandler) -> list[str]:
    own, opt = operation["responses"], handler.opt
    statuses = ["500", "503"]
    # Litestar answers 400 to what does not validate; we answer 422, as the contract does.
    declared = handler.responses or {}
    validated = "400" in own and 400 not in declared
    if validated:
        del own["400"]
    if validated or operation.get("parameters") or "requestBody" in operation:
        if 422 not in declared:
            own.pop("422", None)
        statuses.append("422")
    if "requestBody" in operation:
        statuses += ["408", "413"]
    if opt.get(POSTMARK):
        statuses.append("401")
    elif not opt.get(PUBLIC):
        statuses += ["401", "403", "429"]
        if not opt.get(PERMISSION) or any(one["in"] == "path" for one in operation.get("parameters", ())):
            statuses.append("404")
    elif opt.get(BY_ADDRESS):
        statuses.append("429")
    return statuses


def _describe(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    opt, own = handler.opt, operation["responses"]
    permission = opt.get(PERMISSION)
    if not opt.get(PUBLIC):
        scheme = POSTMARK_SCHEME if opt.get(POSTMARK) else KEY_SCHEME if permission else SCHEME
        operation["security"] = [{scheme: []}]
    if permission:
        operation["x-required-permission"] = str(permission)
        text = f"The API key lacks {permission}."
        own["403"] = {"description": text, "content": _content("403", text)}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["schema"].get("type") == "string":
            # Without it the path would be another one.
            parameter["schema"].setdefault("minLength", 1)
    if opt.get(ETAG) or opt.get(STATIC):
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        own["200"].setdefault("headers", {})["ETag"] = _ETAG
        own["304"] = {"description": "The client has this answer already.", "headers": {"ETag": _ETAG}}


def _describe_lines(operation: dict[str, Any], member: str, schemas: dict[str, Any]) -> None:
    """Where a list may come and go as NDJSON: the schema is that of one line."""
    for holder, name in ((operation["requestBody"], member), (operation["responses"]["200"], RESULTS)):
        content = holder["content"]
        whole = schemas[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        content[NDJSON] = {"schema": whole["properties"][name]["items"]}
