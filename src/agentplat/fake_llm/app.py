"""A server that speaks OpenAI's chat interface, for demos, tests and load tests without a model."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.params import JSONBody
from litestar.response import Stream
from msgspec import Struct

from agentplat.fake_llm.replies import Reply, digest, prompt_tokens, reply

_MAX_SECONDS = 600.0


class Timing(Struct, frozen=True, kw_only=True):
    """How fast the model is, and how long its answers are. Headers `x-fake-…` of a request override it."""

    first_token_ms: float = 0.0
    token_ms: float = 0.0
    tokens: int = 24

    def overridden(self, headers: Any) -> "Timing":
        given = {field: headers.get(f"x-fake-{field.replace('_', '-')}") for field in self.__struct_fields__}
        values = msgspec.to_builtins(self) | {field: value for field, value in given.items() if value is not None}
        return msgspec.convert(values, Timing, strict=False)


class StreamOptions(Struct, frozen=True, kw_only=True):
    include_usage: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True):
    """What of OpenAI's request has an effect here; the rest is accepted."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None

    @property
    def json_mode(self) -> dict[str, Any] | None:
        kind = (self.response_format or {}).get("type", "text")
        return None if kind == "text" else self.response_format


@get("/models")
async def list_models() -> dict[str, Any]:
    """The one model there is; every other name works as well."""
    return {"object": "list", "data": [{"id": "fake-llm", "object": "model", "created": 0, "owned_by": "agentplat"}]}


@post("/chat/completions", status_code=200)
async def complete_chat(data: JSONBody[ChatRequest], request: Request[Any, Any, State]) -> Response[Any]:
    """Answer a conversation, at once or as server-sent events."""
    if "x-fake-status" in request.headers:
        return _error(int(request.headers["x-fake-status"]), "This failure was asked for.")
    timing: Timing = request.app.state.timing.overridden(request.headers)
    answer = reply(
        data.messages,
        length=timing.tokens,
        limit=data.max_completion_tokens or data.max_tokens,
        json_mode=data.json_mode,
        tools=data.tools or (),
        tool_choice=data.tool_choice,
    )
    if data.stream:
        return Stream(_events(data, answer, timing), media_type="text/event-stream")
    await _pause(timing.first_token_ms + timing.token_ms * (len(answer.pieces) - 1))
    return Response(_completion(data, answer))


def _completion(data: ChatRequest, answer: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls
    return {
        **_head(data, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": _usage(data, answer),
    }


async def _events(data: ChatRequest, answer: Reply, timing: Timing) -> AsyncIterator[bytes]:
    head = _head(data, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _sse({**head, "choices": [choice]})

    await _pause(timing.first_token_ms)
    yield event({"role": "assistant", "content": None if answer.tool_calls else ""})
    for number, piece in enumerate(answer.pieces):
        if number:
            await _pause(timing.token_ms)
        yield event({"content": piece})
    if answer.tool_calls:
        yield event({"tool_calls": [{"index": at, **tool_call} for at, tool_call in enumerate(answer.tool_calls)]})
    yield event({}, answer.finish_reason)
    if data.stream_options and data.stream_options.include_usage:
        yield _sse({**head, "choices": [], "usage": _usage(data, answer)})
    yield b"data: [DONE]\n\n"


def _head(data: ChatRequest, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{digest(data.messages)[:24]}",
        "object": kind,
        "created": int(time.time()),
        "model": data.model,
    }


def _usage(data: ChatRequest, answer: Reply) -> dict[str, int]:
    asked = prompt_tokens(data.messages)
    answered = len(answer.pieces) or len(answer.tool_calls)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _sse(document: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


async def _pause(milliseconds: float) -> None:
    if milliseconds > 0:
        await asyncio.sleep(min(milliseconds / 1000, _MAX_SECONDS))


def _error(status: int, message: str) -> Response[Any]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Response({"error": error}, status_code=status, media_type=MediaType.JSON)


def _render_error(_: Request[Any, Any, State], error: Exception) -> Response[Any]:
    if isinstance(error, HTTPException):
        return _error(error.status_code, error.detail)
    if isinstance(error, (ValueError, msgspec.ValidationError)):
        return _error(400, str(error))
    return _error(500, repr(error))


def create_app(timing: Timing) -> Litestar:
    return Litestar(
        route_handlers=[Router("/v1", route_handlers=[list_models, complete_chat])],
        state=State({"timing": timing}),
        exception_handlers={Exception: _render_error},
        openapi_config=None,
        logging_config=None,
    )
