"""Blocks that ask a model, against the fake one."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from agentplat.blocks import runner
from agentplat.blocks.builtin.llm import AITextGeneratorBlock
from agentplat.blocks.builtin.llm_models import MODELS
from agentplat.sdk import ApiKeyCredentials, Context, Secret, Services
from tests.support.fake_llm import running

CREDENTIALS = {"id": "c", "provider": "openai", "type": "api_key"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as (url, _):
        yield url


@pytest.fixture
async def ctx(url: str) -> AsyncIterator[Context]:
    key = ApiKeyCredentials(id="c", provider="openai", api_key=Secret("k"))
    async with httpx2.AsyncClient() as http:
        shared = Services(http=http, base_urls={"openai": url})
        yield Context(user_id="u", credentials={"credentials": key}, shared=shared, idempotency_key="run:node:1")


async def outputs(ctx: Context, **data: Any) -> dict[str, Any]:
    given = {"credentials": CREDENTIALS, **data}
    assert runner.validate_input(AITextGeneratorBlock.spec, given) is None
    return {name: value async for name, value in runner.stream(AITextGeneratorBlock(), given, ctx)}


async def test_text_and_the_messages_that_led_to_it(ctx: Context) -> None:
    found = await outputs(ctx, prompt="[[reply: It works.]]", sys_prompt="Be brief.")
    assert found == {
        "response": "It works.",
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "[[reply: It works.]]"},
        ],
    }
    assert (ctx.stats.llm_call_count, ctx.stats.llm_retry_count, ctx.stats.output_token_count) == (1, 0, 2)
    assert ctx.stats.input_token_count > 0


async def test_templates_only_with_values(ctx: Context) -> None:
    plain = await outputs(ctx, prompt="{{a}} {b}")
    filled = await outputs(ctx, prompt="{{a}} {b}", prompt_values={"a": "A"})
    assert [found["prompt"][0]["content"] for found in (plain, filled)] == ["{{a}} {b}", "A {b}"]


async def test_max_tokens_cut_the_answer(ctx: Context) -> None:
    found = await outputs(ctx, prompt="[[reply: one two three four]]", max_tokens=2)
    assert found["response"] == "one two"


async def test_broken_template_fails_before_the_call(ctx: Context) -> None:
    with pytest.raises(runner.BlockFailure, match="unexpected end of template"):
        await outputs(ctx, prompt="{{ a", prompt_values={"a": "A"})
    assert ctx.stats.input_token_count == 0


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.provider != "openai"][::8])
async def test_other_providers_are_refused_by_name(ctx: Context, name: str) -> None:
    with pytest.raises(runner.BlockFailure, match=MODELS[name].provider) as failure:
        await outputs(ctx, prompt="x", model=name)
    assert failure.value.expected


async def test_no_attempts_no_call(ctx: Context) -> None:
    with pytest.raises(runner.BlockFailure, match="0 attempts"):
        await outputs(ctx, prompt="x", retry=0)
    assert ctx.stats.input_token_count == 0


async def test_unreachable_provider_is_named_after_all_attempts(ctx: Context) -> None:
    assert ctx.shared is not None
    ctx.shared = Services(http=ctx.shared.http, base_urls={"openai": "http://127.0.0.1:9/v1"})
    with pytest.raises(runner.BlockFailure, match=r"gave no answer in 1 attempts: Connection error"):
        await outputs(ctx, prompt="x", retry=1)


async def test_without_credentials() -> None:
    with pytest.raises(runner.BlockFailure, match="No API key was given for 'credentials'"):
        await outputs(Context(user_id="u"), prompt="x")
