"""One call of a language model, whoever provides it. All blocks that talk to models come through here."""

from collections.abc import Mapping, Sequence
from typing import Any

import openai
from msgspec import Struct

from agentplat.blocks.builtin.llm_compression import compressed
from agentplat.blocks.builtin.llm_messages import Message, message_tokens
from agentplat.blocks.builtin.llm_models import MODELS, UNKNOWN_MAX_OUTPUT, LlmModel
from agentplat.sdk import BlockError, Context

# Whose models can be asked. Those of others can be chosen, as the contract has it, but not used yet.
PROVIDERS_ASKED = ("openai",)
# A model may think for minutes; anything longer is a lost connection.
_TIMEOUT_SECONDS = 600.0
# Refusals that come out the same however often one asks.
_FINAL = (
    openai.AuthenticationError,
    openai.PermissionDeniedError,
    openai.NotFoundError,
)


class Reply(Struct, frozen=True, kw_only=True):
    """What a model answered. `message` is its raw message, `prompt` what was sent."""

    text: str
    prompt: list[Message]
    message: dict[str, Any]
    tool_calls: list[dict[str, Any]]
    reasoning: str | None
    input_tokens: int
    output_tokens: int


def model_named(name: str) -> LlmModel:
    try:
        return MODELS[name]
    except KeyError:
        raise BlockError(f"There is no model '{name}'.") from None


async def call(
    ctx: Context,
    model: LlmModel,
    messages: Sequence[Message],
    *,
    max_tokens: int | None = None,
    json_mode: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
    parallel_tool_calls: bool | None = None,
    compress: bool = True,
    attempt: int = 1,
) -> Reply:
    """Ask the model. Adds what it used to the statistics; raises `BlockError`, or a provider's error worth a retry.

    A conversation of more than half of what the model can take in is shortened first, unless told otherwise.
    """
    if model.provider not in PROVIDERS_ASKED:
        raise BlockError(f"Models of the provider '{model.provider}' are not available on this installation yet.")
    credentials = ctx.api_key()
    if credentials.provider != model.provider:
        raise BlockError(
            f"The credentials are for '{credentials.provider}', but {model.name} is of '{model.provider}'."
        )
    client = openai.AsyncOpenAI(
        api_key=credentials.api_key.reveal(),
        base_url=ctx.base_url("openai"),
        http_client=ctx.http,
        timeout=_TIMEOUT_SECONDS,
    )
    prompt = compressed(messages, model.context_window // 2) if compress else list(messages)
    options: dict[str, Any] = {"max_completion_tokens": output_limit(model, prompt, max_tokens)}
    if json_mode:
        options["response_format"] = {"type": "json_object"}
    if tools:
        options["tools"] = list(tools)
        # Reasoning models refuse this setting.
        if parallel_tool_calls is not None and not model.name.startswith("o"):
            options["parallel_tool_calls"] = parallel_tool_calls
    if ctx.idempotency_key:
        options["extra_headers"] = {"Idempotency-Key": f"{ctx.idempotency_key}:{attempt}"}
    try:
        answer = await client.chat.completions.create(model=model.name, messages=prompt, **options)  # type: ignore[arg-type]
    except _FINAL as error:
        raise BlockError(f"{model.name} cannot be used: {error.message}") from error
    return _reply(answer, prompt, ctx)


def output_limit(model: LlmModel, messages: Sequence[Message], wanted: int | None) -> int:
    """How many tokens the answer may have: what fits, what the model can, what was asked for."""
    room = model.context_window - sum(message_tokens(message) for message in messages)
    most = model.max_output or UNKNOWN_MAX_OUTPUT
    return max(1, min(room, most, wanted or most))


def _reply(answer: Any, prompt: list[Message], ctx: Context) -> Reply:
    if not answer.choices:
        raise BlockError("The model gave no answer.")
    choice = answer.choices[0]
    usage = answer.usage
    reply = Reply(
        text=choice.message.content or "",
        prompt=prompt,
        message=choice.message.model_dump(exclude_none=True),
        tool_calls=[tool_call.model_dump() for tool_call in choice.message.tool_calls or ()],
        reasoning=_reasoning(answer, choice),
        input_tokens=usage.prompt_tokens if usage else 0,
        output_tokens=usage.completion_tokens if usage else 0,
    )
    ctx.stats.add(input_token_count=reply.input_tokens, output_token_count=reply.output_tokens)
    return reply


def _reasoning(answer: Any, choice: Any) -> str | None:
    # Not part of OpenAI's interface, so servers that speak it put it in different places.
    for place in (choice, answer, choice.message):
        if isinstance(found := getattr(place, "reasoning", None), str):
            return found
    return None
