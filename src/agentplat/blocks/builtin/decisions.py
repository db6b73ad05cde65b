"""Blocks that let a language model decide what happens next."""

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import openai

from agentplat.blocks.builtin import llm_call
from agentplat.blocks.builtin.llm import model_credentials, model_field
from agentplat.blocks.builtin.llm_conversation import combined, continued, spoken, tool_answer, with_objective
from agentplat.blocks.builtin.llm_messages import OBJECTIVE, Message
from agentplat.blocks.builtin.llm_models import LLM_COSTS
from agentplat.blocks.builtin.llm_tools import Call, Function, functions_of, read_calls
from agentplat.sdk import (
    Block,
    BlockError,
    BlockType,
    Category,
    Context,
    CredentialsMeta,
    Outputs,
    OutputSchema,
    Schema,
    field,
    templates,
)
from agentplat.sdk.tools import pending_calls

_INSTRUCTIONS = (
    "You work towards an objective with the tools that you are given. Decide which of them brings it closer and call "
    "it with every argument that it requires; what a tool answers will be told to you. Take arguments from the "
    "conversation and never make them up. When the objective is reached, or no tool can help, answer in plain text."
)
_LAST_TURN = f"{OBJECTIVE}This is your last turn. Finish now with what you know: no tool can answer you any more."


class SmartDecisionMakerBlock(Block):
    """Lets a language model call the nodes that it is wired to as tools, or finish."""

    id = "3b191d9f-356f-482d-8238-ba04b6d18381"
    categories = (Category.AI,)
    block_type = BlockType.AI
    costs = LLM_COSTS
    repeatable = True
    calls_tools = True

    class Input(Schema):
        prompt: str = field(description="What to achieve.", placeholder="Find out {{question}}.")
        model: str = model_field(advanced=False)
        credentials: CredentialsMeta = model_credentials()
        multiple_tool_calls: bool = field(default=False, description="Whether it may call several tools at once.")
        sys_prompt: str = field(default=_INSTRUCTIONS, description="Instructions that come before the prompt.")
        conversation_history: list[dict[str, Any]] | None = field(
            default_factory=list, description="The conversation so far: the output 'conversations' of the last turn."
        )
        last_tool_output: Any = field(default=None, description="What the tool answered that was called last.")
        retry: int = field(default=3, description="How often to try when the model calls tools wrongly.")
        prompt_values: dict[str, str] = field(
            default_factory=dict, advanced=False, description="Values for the templates in the prompts."
        )
        max_tokens: int | None = field(default=None, description="At most so many tokens in the answer.")
        ollama_host: str = field(default="localhost:11434", description="Where Ollama listens, for its models.")
        agent_mode_max_iterations: int = field(
            default=0,
            description="0 makes one decision; another number works on by itself for so many turns, -1 without limit.",
        )
        conversation_compaction: bool = field(
            default=True, description="Whether a conversation that grows too long is shortened."
        )

    class Output(OutputSchema):
        tools: Any = field(description="The calls, each to the node that is called.")
        finished: str = field(description="The answer, when there is nothing more to do.")
        conversations: list[Any] = field(description="The conversation so far.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        functions = functions_of(ctx.tools)
        if not functions:
            raise BlockError("There is no tool: link the output 'tools' to nodes that the model may call.")
        if ctx.memo is None:
            yield "tool_functions", json.dumps([function.as_shown() for function in functions])
        messages = continued(input.conversation_history or (), input.last_tool_output)
        if pending_calls(messages):
            yield "conversations", messages
            return
        messages = _with_prompts(messages, input)
        if input.agent_mode_max_iterations:
            async for output in _work(ctx, input, functions, messages):
                yield output
            return
        reply, calls = await _decide(ctx, input, functions, messages)
        if not calls:
            yield "finished", reply.text
            return
        for call in calls:
            for output in call.outputs():
                yield output
        yield "conversations", [*messages, *spoken(reply)]


def _with_prompts(messages: list[Message], input: SmartDecisionMakerBlock.Input) -> list[Message]:
    sys_prompt, prompt = input.sys_prompt, input.prompt
    # Without values nothing is a template, so that braces in a prompt survive.
    if input.prompt_values:
        sys_prompt, prompt = (templates.render(text, input.prompt_values) for text in (sys_prompt, prompt))
    return with_objective(messages, sys_prompt, prompt)


async def _work(
    ctx: Context, input: SmartDecisionMakerBlock.Input, functions: Sequence[Function], messages: list[Message]
) -> Outputs:
    """Call tools and tell the model what they answered, until it has nothing to call or has had its turns.

    What the model said is noted with the first call that it led to, so no turn is taken twice.
    """
    limit, first = input.agent_mode_max_iterations, 1
    calls: list[Call] = []
    if ctx.memo is not None:
        first, messages = ctx.memo["turn"], ctx.memo["messages"]
        calls = read_calls(messages[-1]["tool_calls"], functions)
    for turn in count(first):
        if 0 < limit < turn:
            yield "finished", f"Stopped after {limit} turns without an answer."
            break
        if not calls:
            asked = [*messages, {"role": "system", "content": _LAST_TURN}] if turn == limit else messages
            try:
                reply, calls = await _decide(ctx, input, functions, asked, turn)
            except BlockError as error:
                raise BlockError(f"Turn {turn} failed: {error}") from error
            messages = [*messages, *spoken(reply)]
            if not calls:
                yield "finished", reply.text
                break
        memo: Any = {"turn": turn, "messages": messages}
        answers = []
        for call in calls:
            answers.append(tool_answer(call.id, await _answer(ctx, call, memo)))
            memo = None
        messages, calls = [*messages, *combined(answers)], []
        yield "conversations", messages
    yield "conversations", messages


async def _answer(ctx: Context, call: Call, memo: Any) -> Any:
    """What a tool gave, or why it failed: that is for the model to deal with."""
    try:
        outputs = await ctx.call(call.function.tool, call.by_pin(), memo)
    except BlockError as error:
        return f"The tool failed: {error}"
    return {name: values[-1] for name, values in outputs.items()} or "Tool executed successfully"


async def _decide(
    ctx: Context,
    input: SmartDecisionMakerBlock.Input,
    functions: Sequence[Function],
    messages: Sequence[Message],
    turn: int = 1,
) -> tuple[llm_call.Reply, list[Call]]:
    """Ask until the model calls tools as they want to be called, or none. What it did wrong is told to it, and to
    nobody else."""
    model = llm_call.model_named(input.model)
    asked = list(messages)
    problem: BlockError | None = None
    tries = max(1, input.retry)
    for attempt in range(1, tries + 1):
        ctx.stats.add(llm_call_count=1, llm_retry_count=problem is not None)
        try:
            reply = await llm_call.call(
                ctx,
                model,
                asked,
                max_tokens=input.max_tokens,
                tools=[function.as_sent() for function in functions],
                parallel_tool_calls=input.multiple_tool_calls,
                compress=input.conversation_compaction,
                attempt=(turn - 1) * tries + attempt,  # a block that goes on from a memo has not counted its turns
            )
        except openai.OpenAIError as error:
            raise BlockError(f"{model.name} gave no answer: {error}") from error
        try:
            return reply, read_calls(reply.tool_calls, functions)
        except BlockError as error:
            problem = error
        asked.append({"role": "user", "content": f"Your last answer called tools wrongly. {problem} Call them again."})
    raise BlockError(f"{model.name} called tools wrongly: {problem}")
