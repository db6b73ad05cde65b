"""An example for every body in the OpenAPI document, made from its schema: the same one whenever it is made."""

from http import HTTPStatus
from typing import Any

from agentplat.infra.errors import (
    AppError,
    BadRequest,
    Conflict,
    NotAllowed,
    NotFound,
    PaymentRequired,
    TooLarge,
    TooMany,
    TooSlow,
    Unauthenticated,
    Unavailable,
)

# Members whose name says more than their schema does.
BY_NAME = {
    "id": "0f9c5f3e-6c1b-4a7e-9a53-1d9c54c5a001",
    "email": "ada@example.com",
    "name": "Ada",
    "timezone": "Europe/Paris",
    "block_id": "1ff065e9-88e8-4358-9d82-8dc91f622ba9",
}
BY_FORMAT = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "email": "ada@example.com",
    "uri": "https://example.com",
}
# Schemas may contain themselves; what lies deeper is left out.
MOST_LEVELS = 6

# By status, of the errors that any domain may raise.
PLAIN = (
    *(AppError, BadRequest, Unauthenticated, PaymentRequired, NotAllowed, NotFound),
    *(TooSlow, Conflict, TooLarge, TooMany, Unavailable),
)
CODES = {error.status: error.code for error in PLAIN}

Schema = dict[str, Any]


def add_examples(document: Schema) -> None:
    for bodies in _bodies(document):
        for media_type, content in bodies.items():
            if (
                media_type == "application/json"
                and "schema" in content
                and not {"example", "examples"} & content.keys()
            ):
                content["example"] = example(content["schema"], document["components"]["schemas"])


def _bodies(document: Schema) -> list[Schema]:
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    responses = [response for operation in operations for response in operation["responses"].values()]
    holders = [*responses, *document["components"]["responses"].values()]
    holders += [operation["requestBody"] for operation in operations if "requestBody" in operation]
    return [holder["content"] for holder in holders if "content" in holder]


def refusal(status: int, text: str) -> Schema:
    """An error of that status. `text` says when an operation answers with it."""
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        text = "body.name: This field is required"
        problem = {"type": "missing", "loc": ["body", "name"], "msg": "This field is required"}
        return {"code": "invalid", "message": text, "detail": [problem]}
    code = CODES.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "_")
    shown = {"code": code, "message": text, "detail": text}
    return shown | ({"request_id": BY_NAME["id"]} if status >= HTTPStatus.INTERNAL_SERVER_ERROR else {})


def example(schema: Schema, schemas: Schema, name: str = "", level: int = 0) -> Any:
    """A value that the schema allows. Of several kinds the first, and of members all that are not too deep."""
    if reference := schema.get("$ref"):
        return example(schemas[reference.rsplit("/", 1)[1]], schemas, name, level)
    for given in ("const", "default"):
        if schema.get(given) is not None:
            return schema[given]
    if "examples" in schema or "enum" in schema:
        return (schema.get("examples") or schema["enum"])[0]
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return example(alternatives[0], schemas, name, level)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return _object(schema, schemas, level)
    if kind == "array":
        few = max(schema.get("minItems", 0), 1 if level < MOST_LEVELS else 0)
        return [example(schema.get("items") or {}, schemas, name.removesuffix("s"), level + 1)] * few
    return _plain(schema, kind, name)


def _object(schema: Schema, schemas: Schema, level: int) -> Schema:
    required = schema.get("required", ())
    return {
        name: example(member, schemas, name, level + 1)
        for name, member in schema.get("properties", {}).items()
        if name in required or level < MOST_LEVELS
    }


def _plain(schema: Schema, kind: str | None, name: str) -> Any:
    if kind == "string":
        text = BY_FORMAT.get(schema.get("format", "")) or BY_NAME.get(name) or name or "text"
        return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return {"boolean": True, "null": None}.get(kind or "", name or "anything")
