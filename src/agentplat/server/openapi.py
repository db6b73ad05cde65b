"""The OpenAPI document: Litestar's, with what holds for all operations alike."""

from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.router import Router
from litestar.routes import HTTPRoute

from agentplat.server.auth import PERMISSION, PUBLIC

SCHEME = "HTTPBearerJWT"
KEY_SCHEME = "ApiKey"

UNAUTHENTICATED = "HTTP401NotAuthenticatedError"
ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "detail": {},
        "hint": {"type": "string"},
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


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="agentplat",
        version=version("agentplat"),
        description="The AutoGPT Platform contract, served by agentplat.",
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                SCHEME: SecurityScheme(type="http", scheme="bearer", bearer_format="jwt"),
                KEY_SCHEME: SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
        openapi_router=Router("/docs", route_handlers=[], opt={PUBLIC: True}, include_in_schema=False),
        render_plugins=[SwaggerRenderPlugin(path="/")],
    )


def document(app: Litestar) -> bytes:
    schema = app.openapi_schema.to_schema()
    components = schema.setdefault("components", {})
    components["schemas"] = dict(sorted((components.get("schemas", {}) | SCHEMAS).items()))
    components["responses"] = {
        UNAUTHENTICATED: {
            "description": "The token or API key is missing, expired or invalid.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    }
    for route in app.routes:
        if isinstance(route, HTTPRoute) and route.path_format in schema["paths"]:
            for handler in route.route_handlers:
                _complete(schema["paths"][route.path_format], handler)
    schema["paths"] = dict(sorted(schema["paths"].items()))
    return msgspec.json.encode(schema)


def _complete(path_item: dict[str, Any], handler: HTTPRouteHandler) -> None:
    for method in handler.http_methods:
        operation = path_item.get(method.lower())
        if operation is None:
            continue
        responses = operation["responses"]
        # Litestar answers 400 to what does not validate; we answer 422, as the contract does.
        if responses.pop("400", None) or "requestBody" in operation:
            content = {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}}
            responses["422"] = {"description": "The request does not have the expected form.", "content": content}
        for status, response in responses.items():
            if status >= "400":
                response.setdefault("content", {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}})
        if not handler.opt.get(PUBLIC):
            operation["security"] = [{KEY_SCHEME if handler.opt.get(PERMISSION) else SCHEME: []}]
            responses["401"] = {"$ref": f"#/components/responses/{UNAUTHENTICATED}"}
        if permission := handler.opt.get(PERMISSION):
            operation["x-required-permission"] = str(permission)
            refused = {"schema": {"$ref": "#/components/schemas/Error"}}
            responses["403"] = {
                "description": f"The API key lacks {permission}.",
                "content": {"application/json": refused},
            }
        operation["responses"] = dict(sorted(responses.items()))
