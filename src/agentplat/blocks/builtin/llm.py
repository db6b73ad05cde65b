"""Blocks that let a language model work."""

from collections.abc import Sequence
from typing import Any

import openai

from agentplat.blocks.builtin import llm_call
from agentplat.blocks.builtin.llm_messages import Message
from agentplat.blocks.builtin.llm_models import (
    DEFAULT_MODEL,
    LLM_COSTS,
    MODEL_PROVIDERS,
    PROVIDERS,
    LlmModel,
)
from agentplat.sdk import (
    Block,
    BlockError,
    Category,
    Context,
    CredentialsMeta,
    Outputs,
    OutputSchema,
    Schema,
    credentials,
    field,
    templates,
)

# How providers say that prompt and answer do not fit together into the model's window.
_TOO_LONG = ("maximum context length", "token limit")


def model_field(*, advanced: bool) -> Any:
    """The pin that names a model."""
    return field(
        default=DEFAULT_MODEL,
        advanced=advanced,
        description="The model to ask.",
        extra={"enum": list(MODEL_PROVIDERS), "llm_model": True},
    )


def model_credentials() -> Any:
    """The credentials pin that goes with `model_field`."""
    return credentials(
        providers=PROVIDERS,
        discriminator="model",
        discriminator_mapping=dict(sorted(MODEL_PROVIDERS.items())),
        description="An API key for the model's provider.",
    )


class AITextGeneratorBlock(Block):
    """Lets a language model write a text."""

    id = "1f292d4a-41a4-4977-9684-7c8d560b9f91"
    categories = (Category.AI,)
    costs = LLM_COSTS
    repeatable = True

    class Input(Schema):
        prompt: str = field(description="What to ask.", placeholder="Write something about {{topic}}.")
        model: str = model_field(advanced=False)
        credentials: CredentialsMeta = model_credentials()
        sys_prompt: str = field(default="", description="Instructions that come before the prompt.")
        retry: int = field(default=3, description="How often to try.")
        prompt_values: dict[str, str] = field(
            default_factory=dict, advanced=False, description="Values for the templates in the prompts."
        )
        ollama_host: str = field(default="localhost:11434", description="Where Ollama listens, for its models.")
        max_tokens: int | None = field(default=None, description="At most so many tokens in the answer.")

    class Output(OutputSchema):
        response: str = field(description="The text.")
        prompt: list[Any] = field(description="The messages that were sent.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        reply = await ask(
            ctx,
            llm_call.model_named(input.model),
            _messages(input.prompt, input.sys_prompt, input.prompt_values),
            retry=input.retry,
            max_tokens=input.max_tokens,
        )
        yield "response", reply.text
        yield "prompt", reply.prompt


def _messages(prompt: str, sys_prompt: str, values: dict[str, str]) -> list[Message]:
    # Without values nothing is a template, so that braces in a prompt survive.
    if values:
        prompt, sys_prompt = templates.render(prompt, values), templates.render(sys_prompt, values)
    texts = {"system": sys_prompt, "user": prompt}
    return [{"role": role, "content": text} for role, text in texts.items() if text]


async def ask(
    ctx: Context,
    model: LlmModel,
    messages: Sequence[Message],
    *,
    retry: int,
    max_tokens: int | None,
) -> llm_call.Reply:
    """Ask for a text, trying again when the provider fails, and with a shorter answer when it did not fit."""
    problem: openai.OpenAIError | None = None
    for attempt in range(1, retry + 1):
        try:
            reply = await llm_call.call(ctx, model, messages, max_tokens=max_tokens, attempt=attempt)
        except openai.OpenAIError as error:
            problem = error
            if any(sign in str(error).lower() for sign in _TOO_LONG):
                max_tokens = int((max_tokens or model.max_output or 4096) * 0.85)
            continue
        ctx.stats.add(llm_call_count=attempt, llm_retry_count=attempt - 1)
        return reply
    raise BlockError(f"{model.name} gave no answer in {retry} attempts: {problem or 'none was allowed'}") from problem
