"""The fake model, seen through OpenAI's own client."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest

from tests.support.fake_llm import running

QUESTION: list[Any] = [{"role": "user", "content": "Which words are short?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}, "days": {"type": "integer"}},
        },
    },
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as (url, _):
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        yield client


async def test_same_question_same_answer(client: openai.AsyncOpenAI) -> None:
    first, second = [await client.chat.completions.create(model="m", messages=QUESTION) for _ in range(2)]
    other = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Another?"}])
    assert first.choices == second.choices
    assert first.choices != other.choices
    assert first.choices[0].finish_reason == "stop"
    assert "Which words are short?" in (first.choices[0].message.content or "")


async def test_usage_counts_what_was_said(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=QUESTION, extra_headers={"x-fake-tokens": "10"})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len((answer.choices[0].message.content or "").split()) == 10
    assert answer.usage.prompt_tokens == 3 + 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_stream_says_the_same_as_one_answer(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="m", messages=QUESTION)
    stream = await client.chat.completions.create(
        model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert chunks[-1].usage == whole.usage


async def test_limit_cuts_the_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=QUESTION, max_completion_tokens=3)
    assert len((answer.choices[0].message.content or "").split()) == 3
    assert answer.choices[0].finish_reason == "length"


async def test_json_mode_answers_json(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=QUESTION, response_format={"type": "json_object"})
    assert set(json.loads(answer.choices[0].message.content or "")) == {"answer"}


async def test_json_schema_is_followed(client: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "tags": {"type": "array", "items": {}}}}
    answer = await client.chat.completions.create(
        model="m",
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert isinstance(found["n"], int)
    assert len(found["tags"]) == 1


async def test_tool_is_called_once(client: openai.AsyncOpenAI) -> None:
    asked = await client.chat.completions.create(model="m", messages=QUESTION, tools=[WEATHER])
    assert asked.choices[0].finish_reason == "tool_calls"
    (call,) = asked.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments).keys() == {"city", "unit", "days"}
    told: list[Any] = [
        *QUESTION,
        asked.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answer = await client.chat.completions.create(model="m", messages=told, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content


async def test_tool_calls_are_streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="m", messages=QUESTION, tools=[WEATHER], stream=True)
    calls = [call async for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [call.function.name for call in calls if call.function] == ["weather"]


async def test_dictated_answer(client: openai.AsyncOpenAI) -> None:
    dictated: list[Any] = [{"role": "user", "content": "Please [[reply: exactly  this]] now"}]
    answer = await client.chat.completions.create(model="m", messages=dictated)
    assert answer.choices[0].message.content == "exactly  this"


async def test_failure_on_request(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="m", messages=QUESTION, extra_headers={"x-fake-status": "429"})


@pytest.mark.parametrize("headers", [{"x-fake-tokens": "many"}, {"x-fake-status": "bad"}])
async def test_bad_request_is_refused(client: openai.AsyncOpenAI, headers: dict[str, str]) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="m", messages=QUESTION, extra_headers=headers)


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_takes_the_time_that_was_set(client: openai.AsyncOpenAI, stream: bool) -> None:
    timing = {"x-fake-first-token-ms": "60", "x-fake-token-ms": "10", "x-fake-tokens": "5"}
    started = time.monotonic()
    answer: Any = await client.chat.completions.create(
        model="m", messages=QUESTION, stream=stream, extra_headers=timing
    )
    if stream:
        chunks = [chunk async for chunk in answer]
        assert len(chunks) == 1 + 5 + 1
    assert time.monotonic() - started >= 0.1


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["fake-llm"]
