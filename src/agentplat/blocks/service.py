"""The catalogue of blocks, and executing one of them by hand."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from types import MappingProxyType
from typing import Any

import httpx2
import msgspec

from agentplat.blocks.builtin import llm_call, llm_models
from agentplat.blocks.errors import BlockDisabled, BlockExecutionFailed, BlockNotFound
from agentplat.blocks.frames import Done, Output, Request
from agentplat.blocks.isolation import Child, Pool
from agentplat.blocks.registry import Registry
from agentplat.blocks.runner import (
    INVALID_INPUT,
    BlockFailure,
    Outcome,
    failure_text,
    normalise,
    run_inline,
    stream,
    validate_input,
)
from agentplat.files import service as files
from agentplat.infra.ids import new_id
from agentplat.infra.settings import get_settings
from agentplat.sdk import Block, BlockError, BlockSpec, Context, Credentials, Services
from agentplat.sdk.categories import DESCRIPTIONS

__all__ = [
    "BlockFailure",
    "Child",
    "Done",
    "Outcome",
    "Output",
    "Pool",
    "Request",
    "ask_model",
    "catalogue",
    "close",
    "context",
    "exact",
    "execute",
    "failure_text",
    "get",
    "models",
    "normalise",
    "registry",
    "run_inline",
    "specs",
    "stream",
    "validate_input",
]


@cache
def registry() -> Registry:
    return Registry.load(get_settings().block_modules)


def get(block_id: str) -> type[Block] | None:
    return registry().blocks.get(block_id)


@cache
def specs() -> Mapping[str, BlockSpec]:
    return MappingProxyType({block_id: block.spec for block_id, block in registry().blocks.items()})


@cache
def catalogue() -> bytes:
    """The body of `GET /api/blocks`: it changes only when the process does."""
    return msgspec.json.encode([entry(spec) for spec in specs().values() if not spec.disabled])


def entry(spec: BlockSpec) -> dict[str, Any]:
    """A block as the AutoGPT Platform contract lists it."""
    return {
        "id": spec.id,
        "name": spec.name,
        "inputSchema": spec.input_schema,
        "outputSchema": spec.output_schema,
        "description": spec.description,
        "categories": [{"category": name, "description": DESCRIPTIONS.get(name, "")} for name in spec.categories],
        "contributors": [{"name": name} for name in spec.contributors],
        "staticOutput": spec.static_output,
        "uiType": spec.block_type,
        "costs": spec.costs,
    }


@cache
def _services() -> Services:
    settings = get_settings()
    base_urls = {"openai": settings.openai_base_url} if settings.openai_base_url else {}
    return Services(
        http=httpx2.AsyncClient(timeout=httpx2.Timeout(60.0, connect=10.0), limits=httpx2.Limits(max_connections=500)),
        base_urls=base_urls,
    )


def context(user_id: str, run_id: str, *, alone: bool = False, **fields: Any) -> Context:
    """A context with what this process offers to blocks: HTTP client, provider addresses, the files of the run.
    `alone`: the process has no database, and only those uploads that were brought for it."""
    run_files = files.of_run(run_id, None if alone else user_id)
    return Context(user_id=user_id, run_id=run_id, shared=_services(), run_files=run_files, **fields)


@cache
def _pool() -> Pool:
    """For blocks that are executed by hand."""
    return Pool(get_settings())


async def close() -> None:
    """Close what blocks share. Call it once, when the process ends."""
    if _pool.cache_info().currsize:
        await _pool().close()
        _pool.cache_clear()
    if _services.cache_info().currsize:
        await _services().http.aclose()
        _services.cache_clear()


async def execute(
    user_id: str,
    block_id: str,
    data: dict[str, Any],
    begin: Callable[[BlockSpec], Awaitable[dict[str, Credentials]]] | None = None,
) -> dict[str, list[Any]]:
    """Execute one block outside of any agent, without review. `begin` is called once it is known that the block may be
    executed with this input; what it returns are the credentials."""
    block = get(block_id)
    if block is None:
        raise BlockNotFound(f"Block #{block_id} not found")
    if block.spec.disabled:
        raise BlockDisabled(f"Block #{block_id} is disabled and cannot be used for execution")
    if problem := validate_input(block.spec, data):
        raise BlockExecutionFailed(failure_text(block.spec.name, block_id, f"{INVALID_INPUT}{problem}"))
    run_id = new_id()
    outputs: dict[str, list[Any]] = {}
    try:
        credentials = await begin(block.spec) if begin else {}
        if block.spec.isolated:
            outputs_of = _isolated(block.spec, user_id, run_id, data, credentials)
        else:
            ctx = context(user_id, run_id, credentials=credentials)
            outputs_of = stream(block(), data, ctx, plain=exact)
        async with aclosing(outputs_of) as pairs:
            async for name, value in pairs:
                outputs.setdefault(name, []).append(value)
    except BlockFailure as failure:
        raise BlockExecutionFailed(str(failure)) from failure
    finally:
        await files.discard(run_id)
    return outputs


async def _isolated(
    spec: BlockSpec, user_id: str, run_id: str, data: dict[str, Any], credentials: dict[str, Credentials]
) -> AsyncGenerator[tuple[str, Any], None]:
    try:
        await files.bring(user_id, run_id, data)
    except BlockError as error:
        raise BlockFailure(failure_text(spec.name, spec.id, str(error)), expected=True) from error
    request = Request(block_id=spec.id, data=data, user_id=user_id, run_id=run_id, credentials=credentials, exact=True)
    async with aclosing(_pool().execute(spec, request, spec.timeout or get_settings().node_timeout_seconds)) as answers:
        async for answer in answers:
            if isinstance(answer, Output):
                yield answer.name, answer.value
            elif answer.error is not None:
                raise BlockFailure(answer.error, expected=True)


def exact(value: Any) -> Any:
    """As plain JSON for somebody who tries a block by hand and should see what it really computed: a run stores null
    for nan and inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return normalise(value)


# For the platform's own questions to models


def models() -> dict[str, str]:
    """The models that can be asked, with their providers."""
    return {
        model.name: model.provider for model in llm_models.MODELS.values() if model.provider in llm_call.PROVIDERS_ASKED
    }


async def ask_model(
    user_id: str, run_id: str, model: str, messages: Sequence[Mapping[str, Any]], credentials: Credentials, limit: int
) -> str:
    """What a model answers, in at most `limit` tokens, as a block would be answered that asks it. Raises `BlockError`
    or a provider's error."""
    ctx = context(user_id, run_id, credentials={"credentials": credentials})
    reply = await llm_call.call(ctx, llm_call.model_named(model), [dict(one) for one in messages], max_tokens=limit)
    return reply.text
