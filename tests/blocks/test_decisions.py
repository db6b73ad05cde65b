"""The block that calls tools, with a provider that answers from a script."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from agentplat.blocks import runner
from agentplat.blocks.builtin.decisions import SmartDecisionMakerBlock
from agentplat.blocks.builtin.llm_conversation import combined, continued, tool_answer
from agentplat.blocks.builtin.llm_messages import OBJECTIVE
from agentplat.blocks.builtin.llm_tools import functions_of
from agentplat.blocks.registry import Registry
from agentplat.engine.graph import Link, Node
from agentplat.engine.tools import tools_of
from agentplat.sdk import ApiKeyCredentials, BlockError, Context, Secret, Services, Tool, ToolPin
from tests.support.drawing import AGENT, CONDITION, FILL_TEXT
from tests.support.shared import SHARED

SPECS = {block_id: block.spec for block_id, block in Registry.load().blocks.items()}
CREDENTIALS = {"id": "c", "provider": "openai", "type": "api_key"}
TOOL_BLOCKS = {"conditionblock": (CONDITION, {}), "my_tool__1": (FILL_TEXT, {"customized_name": "My Tool #1"})}
AGENT_SCHEMA = {"properties": {"topic": {"type": "string", "default": "d"}, "n": {"type": "integer"}}}

Answer = dict[str, Any]


def calls(*wanted: tuple[str, Any]) -> Answer:
    """A model's message with these calls: of which tool, with which arguments (text is sent as it is)."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
            }
            for number, (name, given) in enumerate(wanted, 1)
        ],
    }


def says(text: str) -> Answer:
    return {"role": "assistant", "content": text}


class Provider(Struct):
    """Answers one scripted message per request, and keeps what it was asked."""

    script: list[Answer]
    asked: list[dict[str, Any]]
    keys: list[str]

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(json.loads(request.content))
        self.keys.append(request.headers["Idempotency-Key"])
        if not self.script:
            return httpx2.Response(400, json={"error": {"message": "nothing left to say", "type": "invalid"}})
        choice = {"index": 0, "message": self.script.pop(0), "finish_reason": "stop"}
        body = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return httpx2.Response(200, json=body)


class Outcome(Struct):
    outputs: list[tuple[str, Any]]
    error: str | None
    asked: list[dict[str, Any]]
    keys: list[str]

    def shown(self) -> list[dict[str, Any]]:
        """The tools as the block shows them first of all."""
        name, value = self.outputs[0]
        assert name == "tool_functions"
        found: list[dict[str, Any]] = json.loads(value)
        return found


Run = Callable[..., Any]


async def _broken(tool: Tool, arguments: Any, memo: Any) -> dict[str, list[Any]]:
    raise BlockError("boom")


@pytest.fixture
def decide() -> Run:
    async def run(tools: tuple[Tool, ...], script: list[Answer], memo: Any = None, **data: Any) -> Outcome:
        provider = Provider(script, [], [])
        key = ApiKeyCredentials(id="c", provider="openai", api_key=Secret("k"))
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(provider)) as http:
            shared = Services(http=http, base_urls={"openai": "http://provider/v1"})
            ctx = Context(
                user_id="u",
                idempotency_key="run:node:1",
                credentials={"credentials": key},
                shared=shared,
                tools=tools,
                run_tool=_broken,
                memo=memo,
            )
            outputs: list[tuple[str, Any]] = []
            given = {"prompt": "p", "credentials": CREDENTIALS, **data}
            assert runner.validate_input(SmartDecisionMakerBlock.spec, given) is None
            try:
                async for output in runner.stream(SmartDecisionMakerBlock(), given, ctx):
                    outputs.append(output)
            except runner.BlockFailure as failure:
                return Outcome(outputs, str(failure), provider.asked, provider.keys)
            return Outcome(outputs, None, provider.asked, provider.keys)

    return run


def tool(node_id: str, name: str, *pins: str) -> Tool:
    found = tuple(ToolPin(name=pin, base=pin, required=True) for pin in pins)
    return Tool(node_id=node_id, name=name, description="", pins=found)


# --- the contract's vectors

SCRIPTS: dict[str, list[Answer]] = {
    "single tool call": [calls(("conditionblock", {"value1": 1, "operator": ">", "value2": 2}))],
    "dynamic pins and custom name": [
        calls(("my_tool__1", {"values___name": "N", "values___a_b": "Q", "format": "F"})),
    ],
    "unknown arg then ok": [
        calls(("conditionblock", {"value1": 1, "operator": ">", "bogus": 2})),
        calls(("conditionblock", {"value1": 1, "operator": ">"})),
    ],
    "always invalid": [calls(("conditionblock", {})), calls(("conditionblock", "{"))],
    "wrong name single tool accepted": [calls(("nonsense", {"value1": 5}))],
    "wrong name two tools": [calls(("nonsense", {"value1": 5}))],
    "finish": [says("done")],
    "reasoning": [{**calls(("conditionblock", {"value1": 5})), "reasoning": "because"}],
    "two calls": [calls(("conditionblock", {"value1": 5}), ("my_tool__1", {"format": "x"}))],
    "pending two outputs one given": [],
    "pending without output": [],
    "pending one output given": [says("done")],
    "no tools": [],
    "agent tool": [calls(("my_agent", {"topic": "x"}))],
    "agent mode finish at once": [says("done")],
    "agent mode tool error then limit": [calls(("conditionblock", {"value1": 5}))] * 2,
    "agent mode llm error": [],
}


# The first is prose in the vectors, the other one is how a block fails.
UNCOMPARED = ("tool_functions", "error")


def vectors() -> list[Any]:
    path = SHARED / "catalog" / "llm_vectors.json"
    if not path.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="the contract's material is not beside this checkout"))]
    found = json.loads(path.read_text(encoding="utf-8"))["smart_decision_maker"]
    return [pytest.param(vector, id=vector["case"]) for vector in found if vector["case"] in SCRIPTS]


def tools_in(vector: dict[str, Any]) -> tuple[Tool, ...]:
    """A graph in which the node has the tools that the vector saw."""
    offered = vector["llm_calls"][0]["tools"] if vector["llm_calls"] else []
    nodes, links = {}, []
    for function in (one["function"] for one in offered):
        node_id = function["_sink_node_id"]
        agent = {"graph_id": "g", "graph_version": 1, "input_schema": AGENT_SCHEMA}
        block_id, metadata = TOOL_BLOCKS.get(function["name"], (AGENT, {"customized_name": "My Agent"}))
        constants = agent if block_id == AGENT else {}
        nodes[node_id] = Node(id=node_id, block_id=block_id, metadata=metadata, input_default=constants)
        pins = function["_field_mapping"].values()
        links += [Link(source_id="d", source_name="tools", sink_id=node_id, sink_name=pin) for pin in pins]
    if not offered and vector["case"] != "no tools":
        return (tool("NODE1", "conditionblock", "value1"),)
    return tools_of(links, nodes, SPECS)


def wordless(tools: Any) -> Any:
    """Tools without what is prose in the contract."""
    if isinstance(tools, list):
        return [wordless(one) for one in tools]
    if not isinstance(tools, dict):
        return tools
    kept = {key: wordless(value) for key, value in tools.items() if key not in ("title", "placeholder")}
    return kept | ({"description": "<text>"} if isinstance(tools.get("description"), str) else {})


def outline(message: dict[str, Any]) -> dict[str, Any]:
    """What the vectors keep of a message."""
    return {
        "role": message["role"],
        "type": message.get("type"),
        "content_is": type(message.get("content")).__name__,
        "tool_call_id": message.get("tool_call_id"),
    }


@pytest.mark.parametrize("vector", vectors())
async def test_vector(vector: dict[str, Any], decide: Run) -> None:
    seen: Outcome = await decide(tools_in(vector), list(SCRIPTS[vector["case"]]), **vector["input"])
    found = [
        (name, [outline(message) for message in value] if name == "conversations" else value)
        for name, value in seen.outputs
        if name not in UNCOMPARED
    ]
    found = [(name, "<message>" if name == "finished" and value != "done" else value) for name, value in found]
    assert found == [tuple(output) for output in vector["outputs"] if output[0] not in UNCOMPARED]
    assert [name for name, _ in seen.outputs[:1]] == [name for name, _ in vector["outputs"][:1]]
    assert (seen.error is None) == (vector["error"] is None and vector["outputs"][-1][0] != "error")
    assert len(seen.asked) == len(vector["llm_calls"])
    for asked, wanted in zip(seen.asked, vector["llm_calls"], strict=True):
        prompt = [
            {"role": m["role"], "has_prefix": str(m.get("content")).startswith(OBJECTIVE)} for m in asked["messages"]
        ]
        assert prompt == wanted["prompt"]
        assert wordless(seen.shown()) == wanted["tools"]
        assert asked["parallel_tool_calls"] == wanted["parallel_tool_calls"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (("call_x", {"a": 1}), {"role": "tool", "tool_call_id": "call_x", "content": '{"a":1}'}),
        (("zzz", [1]), {"role": "tool", "tool_call_id": "zzz", "content": "[1]"}),
        (
            ("toolu_x", "s"),
            {
                "role": "user",
                "type": "message",
                "content": [{"tool_use_id": "toolu_x", "type": "tool_result", "content": "s"}],
            },
        ),
    ],
)
def test_an_answer_has_the_form_of_who_asked(answer: tuple[str, Any], message: dict[str, Any]) -> None:
    assert tool_answer(*answer) == message


def test_answers_to_anthropic_are_one_message() -> None:
    answers = [tool_answer("toolu_1", "a"), tool_answer("call_2", "b"), tool_answer("toolu_3", "c")]
    merged, other = combined(answers)
    assert [part["tool_use_id"] for part in merged["content"]] == ["toolu_1", "toolu_3"]
    assert other == answers[1]


# --- our own


async def test_the_provider_does_not_see_where_calls_go(decide: Run) -> None:
    seen = await decide((tool("n", "Look up", "q"),), [says("done")])
    (offered,) = seen.asked[0]["tools"]
    assert set(offered["function"]) == {"name", "description", "parameters"}
    assert offered["function"]["name"] == "look_up"


async def test_nothing_is_called_while_one_call_is_wrong(decide: Run) -> None:
    tools = (tool("n", "a", "q"), tool("m", "b", "q"))
    script = [calls(("a", {"q": "1"}), ("b", {"q": None})), calls(("b", {"q": "2"}))]
    seen = await decide(tools, script)
    assert [output for output in seen.outputs if output[0].startswith("tools_^_")] == [("tools_^_m_~_q", "2")]
    complaint = seen.asked[1]["messages"][-1]
    assert complaint["role"] == "user"
    assert "'b' needs q" in complaint["content"]
    assert complaint not in seen.outputs[-1][1]


async def test_templates_only_with_values(decide: Run) -> None:
    tools = (tool("n", "a", "q"),)
    plain = await decide(tools, [says("")], prompt="{{x}}")
    filled = await decide(tools, [says("")], prompt="{{x}}", sys_prompt="{{x}}!", prompt_values={"x": "X"})
    assert plain.asked[0]["messages"][-1]["content"] == OBJECTIVE + "{{x}}"
    assert [m["content"] for m in filled.asked[0]["messages"]] == [f"{OBJECTIVE}X!", f"{OBJECTIVE}X"]


async def test_a_provider_that_fails_is_not_asked_again(decide: Run) -> None:
    seen = await decide((tool("n", "a", "q"),), [])
    assert seen.error is not None
    assert "nothing left to say" in seen.error
    assert len(seen.asked) == 1


async def test_what_nobody_asked_for_is_told_as_news(decide: Run) -> None:
    seen = await decide((tool("n", "a", "q"),), [says("")], last_tool_output={"r": 1})
    assert '{"r":1}' in seen.asked[0]["messages"][0]["content"]


def test_the_history_itself_is_left_as_it_is() -> None:
    history = [{"role": "assistant", "tool_calls": [{"id": "c"}]}]
    assert len(continued(history, "x")) == 2
    assert len(history) == 1


def test_names_are_taken_by_providers_and_by_nobody_twice() -> None:
    long = "x" * 80
    functions = functions_of(
        [tool("1", "Äb c", "Q a", "q_a"), tool("2", "_b_c"), tool("3", long), tool("4", long), tool("5", long)]
    )
    assert [function.name for function in functions] == ["_b_c", "_b_c_2", "x" * 64, "x" * 62 + "_2", "x" * 62 + "_3"]
    assert functions[0].fields == {"q_a": "Q a", "q_a_2": "q_a"}


async def test_every_question_has_a_key_of_its_own_whenever_it_is_asked(decide: Run) -> None:
    """After a crash the block goes on in its second turn; a provider must not take that for the first one."""
    tools = (tool("n", "a", "q"),)
    script = [calls(("a", {"q": "1"})), calls(("a", {})), calls(("a", {"q": "2"})), says("done")]
    whole = await decide(tools, list(script), agent_mode_max_iterations=-1)
    spoken = [message for message in whole.outputs[2][1] if message["role"] == "assistant"]
    memo = {"turn": 2, "messages": [*whole.outputs[1][1], spoken[1]]}
    resumed = await decide(tools, script[3:], memo=memo, agent_mode_max_iterations=-1)
    assert len(set(whole.keys)) == 4
    assert resumed.keys == whole.keys[3:]
    assert resumed.outputs == whole.outputs[2:]
