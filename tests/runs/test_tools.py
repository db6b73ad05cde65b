"""Models that call nodes: A24 with both ways to draw the links, loops, agents as tools; and A28, tools left out."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.accounts import service as accounts
from agentplat.blocks import service as blocks
from agentplat.blocks.builtin.llm_messages import OBJECTIVE
from agentplat.credits import service as credits
from agentplat.engine.messages import NodeEnded, NodeStarted, NodeYielded, RunBegan, ToolCalled
from agentplat.graphs import service as graphs
from agentplat.graphs.models import CreateGraph, GraphModel
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings, get_settings
from agentplat.runs import reviewing, service
from agentplat.runs.driver import Driver
from agentplat.runs.models import ExecuteBody, RunMeta
from agentplat.runs.nodes import now_us
from agentplat.runs.reviewing import ReviewItem
from tests.runs.test_driver import DeadWorker
from tests.runs.test_subruns import child_of, take_all
from tests.support.conditions import until
from tests.support.drawing import (
    DECIDE,
    EFFECT,
    GATE,
    INPUT,
    KEYED,
    NEG,
    OUTPUT,
    REVIEW,
    SLOW,
    STORE,
    TWO,
    Drawing,
    agent,
    draw,
)
from tests.support.fake_llm import running
from tests.support.gates import Gate
from tests.support.hosting import final, look, outcomes
from tests.support.switches import environment_of
from tests.support.world import ANN, names, save, start

CREDENTIALS = {"id": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "provider": "openai", "type": "api_key"}


@pytest.fixture(scope="module")
def llm() -> Iterator[str]:
    with running() as (url, _):
        yield url


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings, llm: str) -> AsyncIterator[Driver]:
    with environment_of(OPENAI_BASE_URL=llm, ENABLE_CREDIT="true"):
        await blocks.close()  # the provider's address is read when the first block asks for it
        async with Driver(get_settings()) as one:
            yield one
        await blocks.close()


@pytest.fixture(autouse=True)
async def rich(driver: Driver) -> None:
    accounts.forget_users()
    await accounts.ensure_user(ANN)
    await credits.grant(ANN.id, 1000, "gift", "gift")


def caller(prompt: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return DECIDE, {"prompt": prompt, "model": "gpt-4o-mini", "credentials": CREDENTIALS, **more}


async def create(graph: dict[str, Any]) -> GraphModel:
    return await graphs.create(ANN, msgspec.convert({"graph": graph}, CreateGraph))


def says_call(call_id: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def optional(drawing: Drawing, name: str) -> Drawing:
    nodes = [
        replace(node, metadata={"credentials_optional": True}) if node.id == name else node for node in drawing.nodes
    ]
    return Drawing(nodes, drawing.links)


@pytest.mark.parametrize("links", [["q"], ["q", "u"]], ids=["required", "required and optional"])
@pytest.mark.parametrize("pin", ["tools", "tools_^_whatever_~_zzz"], ids=["new links", "old links"])
async def test_one_call(driver: Driver, pin: str, links: list[str]) -> None:
    nodes = {"d": caller('[[tool: t {"q": "x"}]]'), "t": (TWO, {}), "z": (STORE, {})}
    graph = await save(draw(nodes, *(f"d.{pin} -> t.{link}" for link in links), "t.o -> z.input"))
    run = await start(graph)
    await driver.accept(run.id)
    seen = await final(run)

    done = outcomes(seen, graph)
    ((status, decided),) = done["d"]
    drawn = {name: node_id for node_id, name in names(graph).items()}
    assert status == "COMPLETED"
    assert list(decided) == ["tool_functions", *(f"tools_^_{drawn['t']}_~_{link}" for link in links), "conversations"]
    assert [decided[f"tools_^_{drawn['t']}_~_{link}"] for link in links] == [["x"], [None]][: len(links)]
    assert done["t"] == [("COMPLETED", {"o": ["xdflt"]})]
    assert done["z"] == [("COMPLETED", {"output": ["xdflt"]})]
    (tool,) = [one for one in seen["node_executions"] if one["node_id"] == drawn["t"]]
    assert tool["input_data"] == {"q": "x"}
    assert (seen["status"], seen["stats"]["node_exec_count"]) == ("COMPLETED", 3)


LOOP_LINKS = (
    "i.result -> d.prompt",
    "d.tools -> t.q",
    "d.tools -> t.u",
    "t.o -> d.last_tool_output",
    "d.conversations -> d.conversation_history",
    "d.finished -> out.value",
)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_loop_ends_with_the_models_answer(driver: Driver, number: int) -> None:
    """As many calls in one turn are as many answers, told one by one."""
    _, constants = caller("", multiple_tool_calls=True)
    del constants["prompt"]
    nodes = {"i": (INPUT, {"name": "p"}), "d": (DECIDE, constants), "t": (TWO, {}), "out": (OUTPUT, {"name": "answer"})}
    graph = await save(draw(nodes, *LOOP_LINKS))
    prompt = "".join(f'[[tool: t {{"q": "{n}"}}]]' for n in range(number)) + "[[reply: done]]"
    run = await start(graph, p=prompt)
    await driver.accept(run.id)
    seen = await final(run)

    assert seen["outputs"] == {"answer": ["done"]}
    done = outcomes(seen, graph)
    assert [output for status, output in done["t"]] == [{"o": [f"{n}dflt"]} for n in range(number)]
    turns = done["d"]
    assert [status for status, _ in turns] == ["COMPLETED"] * (number + 1)
    (before_last,) = turns[-2][1]["conversations"]
    told = [message["content"] for message in before_last if message["role"] == "tool"]
    assert told == [f"{n}dflt" for n in range(number - 1)]
    assert turns[-1][1]["finished"] == ["done"]


WORK_LINKS = ("d.tools -> t.q", "d.tools -> t.u", "t.o -> z.input")


async def test_a_model_that_works_by_itself_has_its_tools_run(driver: Driver) -> None:
    nodes = {"d": caller('[[tool: t {"q": "x"}]]', agent_mode_max_iterations=1), "t": (TWO, {}), "z": (STORE, {})}
    graph = await save(draw(nodes, *WORK_LINKS))
    run = await start(graph)
    await driver.accept(run.id)
    seen = await final(run)

    done = outcomes(seen, graph)
    ((status, output),) = done["d"]
    assert status == "COMPLETED"
    assert list(output) == ["tool_functions", "conversations", "finished"]
    assert output["conversations"][-1][-1]["content"] == '{"o":"xdflt"}'
    assert done["t"] == [("COMPLETED", {"o": ["xdflt"]})]
    assert done["z"] == [("COMPLETED", {"output": ["xdflt"]})]
    inputs = {names(graph)[one["node_id"]]: one["input_data"] for one in seen["node_executions"]}
    assert inputs["t"] == {"q": "x", "u": None}
    assert (seen["status"], seen["stats"]["node_exec_count"]) == ("COMPLETED", 3)


async def test_a_model_that_works_by_itself_hears_what_its_tools_did(driver: Driver) -> None:
    """Slow ones, ones that fail, and another agent, in one turn; then it answers."""
    child = await save(draw({"ci": (INPUT, {"name": "q"}), "co": (OUTPUT, {"name": "a"})}, "ci.result -> co.value"))
    wanted = '[[tool: slow {"v": 1}]] [[tool: neg {"x": -1}]] [[tool: sub {"q": "bees"}]] [[reply: done]]'
    nodes = {
        "d": caller(wanted, agent_mode_max_iterations=-1, multiple_tool_calls=True),
        "slow": (SLOW, {"delay": 0.05}),
        "neg": (NEG, {}),
        "sub": agent(child.id, child.version, {}, "q", "a"),
    }
    graph = await save(draw(nodes, "d.tools -> slow.v", "d.tools -> neg.x", "d.tools -> sub.q"))
    ((_, output),) = outcomes(await take_all(driver, await start(graph)), graph)["d"]
    assert output["finished"] == ["done"]
    told = [message["content"] for message in output["conversations"][-1] if message["role"] == "tool"]
    assert told[0] == '{"out":1}'
    assert "neg" in told[1]
    assert told[2] == '{"a":"bees"}'


async def test_a_call_that_was_made_before_a_crash_is_not_made_again(driver: Driver, tmp_path: Path) -> None:
    """The effect that is on record is what the model hears of; only its own work is done again."""
    log = tmp_path / "log"
    nodes = {
        "d": caller('[[tool: e {"v": 7}]][[reply: done]]', agent_mode_max_iterations=-1),
        "e": (EFFECT, {"path": str(log)}),
    }
    graph = await save(draw(nodes, "d.tools -> e.v"))
    node_id = {name: node_id for node_id, name in names(graph).items()}["e"]
    run = await start(graph)
    at = now_us()
    await DeadWorker(run).left(
        RunBegan(at),
        NodeStarted(1, at),
        ToolCalled(1, at, node_id, {"v": 7}),
        NodeStarted(2, at),
        NodeEnded(2, at, [("out", "recorded")]),
    )
    await driver.accept(run.id)
    done = outcomes(await final(run), graph)
    assert done["e"] == [("COMPLETED", {"out": ["recorded"]})]
    ((status, output),) = done["d"]
    assert (status, output["finished"]) == ("COMPLETED", ["done"])
    assert output["conversations"][-1][-2]["content"] == '{"out":"recorded"}'
    assert not log.exists()


async def test_a_turn_is_not_taken_again_after_a_crash(driver: Driver) -> None:
    """The model is not asked what it was asked before, and what it said then is not shown again."""
    nodes = {"d": caller("[[reply: done]]", agent_mode_max_iterations=-1), "s": (STORE, {})}
    graph = await save(draw(nodes, "d.tools -> s.input"))
    node_id = {name: node_id for node_id, name in names(graph).items()}["s"]
    run = await start(graph)
    at = now_us()
    turns = [
        {"role": "user", "content": f"{OBJECTIVE}[[reply: done]]"},
        says_call("call_1", "s", {"input": "first"}),
        {"role": "tool", "tool_call_id": "call_1", "content": '{"output":"first"}'},
        says_call("call_2", "s", {"input": "second"}),
    ]
    await DeadWorker(run).left(
        RunBegan(at),
        NodeStarted(1, at),
        NodeYielded(1, at, [("tool_functions", "[]")]),
        ToolCalled(1, at, node_id, {"input": "first"}, {"turn": 1, "messages": turns[:2]}),
        NodeEnded(2, at, [("output", "first")], None, at),
        NodeYielded(1, at, [("conversations", turns[:3])]),
        ToolCalled(1, at, node_id, {"input": "second"}, {"turn": 2, "messages": turns}),
    )
    await driver.accept(run.id)
    seen = await final(run)
    done = outcomes(seen, graph)
    assert done["s"] == [("COMPLETED", {"output": [value]}) for value in ("first", "second")]
    ((_, output),) = done["d"]
    assert (output["tool_functions"], output["finished"]) == (["[]"], ["done"])
    first, second, last = output["conversations"]
    assert first == turns[:3]
    assert second[:-1] == turns
    assert second[-1]["content"] == '{"output":"second"}'
    assert [message["role"] for message in last[len(second) :]][-1] == "assistant"


async def parked(db: Database, run: RunMeta) -> None:
    await until(lambda: db.fetchval("SELECT parked FROM mailboxes WHERE run_id = $1", run.id))


async def test_a_model_that_waits_for_another_agent_holds_no_place(driver: Driver, db: Database, gate: Gate) -> None:
    slow = draw(
        {"i": (INPUT, {"name": "q"}), "s": (GATE, {"path": gate.path}), "o": (OUTPUT, {"name": "a"})},
        "i.result -> s.v",
        "s.out -> o.value",
    )
    child = await save(slow)
    nodes = {
        "d": caller('[[tool: a {"q": "bees"}]] [[reply: done]]', agent_mode_max_iterations=-1),
        "a": agent(child.id, child.version, {}, "q", "a"),
    }
    graph = await save(draw(nodes, "d.tools -> a.q"))
    run = await start(graph)
    await driver.accept(run.id)
    below = await child_of(run)
    await driver.accept(below.id)
    await parked(db, run)
    await until(lambda: run.id not in driver._hosted)
    gate.open()
    done = outcomes(await final(run), graph)
    assert done["a"] == [("COMPLETED", {"a": ["bees"]})]
    ((_, output),) = done["d"]
    assert output["finished"] == ["done"]
    assert output["conversations"][0][-1]["content"] == '{"a":"bees"}'
    assert len(output["conversations"]) == 2


async def test_a_model_that_waits_for_a_person_holds_no_place(driver: Driver, db: Database) -> None:
    nodes = {
        "d": caller('[[tool: h {"data": "draft"}]] [[reply: done]]', agent_mode_max_iterations=-1),
        "h": (REVIEW, {"name": "Draft"}),
    }
    graph = await save(draw(nodes, "d.tools -> h.data"))
    run = await start(graph)
    await driver.accept(run.id)
    await parked(db, run)
    await until(lambda: run.id not in driver._hosted)
    (review,) = await reviewing.pending_of_run(ANN.id, run.id)
    await reviewing.answer(ANN.id, [ReviewItem(node_exec_id=review.node_exec_id, approved=True)])
    await driver.accept(run.id)
    ((_, output),) = outcomes(await final(run), graph)["d"]
    assert json.loads(output["conversations"][0][-1]["content"])["approved_data"] == "draft"
    assert output["finished"] == ["done"]


async def test_a_stop_ends_a_model_and_its_tool(driver: Driver) -> None:
    nodes = {"d": caller('[[tool: s {"v": 1}]]', agent_mode_max_iterations=-1), "s": (SLOW, {"delay": 60})}
    graph = await save(draw(nodes, "d.tools -> s.v"))
    run = await start(graph)
    await driver.accept(run.id)

    async def called() -> bool:
        return "s" in outcomes(await look(run), graph)

    await until(called)
    await service.stop(ANN.id, graph.id, run.id)
    seen = await final(run)
    assert seen["status"] == "TERMINATED"
    assert {status for one in outcomes(seen, graph).values() for status, _ in one} == {"TERMINATED"}


async def test_another_agent_is_called_by_its_name(driver: Driver) -> None:
    expert = draw({"ci": (INPUT, {"name": "topic"}), "co": (OUTPUT, {"name": "answer"})}, "ci.result -> co.value")
    child = await create(expert.as_graph("Bee expert"))
    drawing = draw(
        {
            "d": caller('[[tool: bee_expert {"topic": "bees"}]]'),
            "t": (TWO, {}),
            "a": agent(child.id, child.version, {}, "topic", "answer"),
            "z": (STORE, {}),
        },
        "d.tools -> t.q",
        "d.tools -> a.topic",
        "a.answer -> z.input",
    )
    body = drawing.as_graph()
    for node in body["nodes"]:
        if node["id"] == "a":
            node["metadata"] = {}
    graph = await create(body)
    seen = await take_all(driver, await start(graph))
    (stored,) = [one for one in seen["node_executions"] if one["block_id"] == STORE]
    assert stored["output_data"] == {"output": ["bees"]}


async def test_a_tool_without_its_credentials_is_not_offered(driver: Driver) -> None:
    nodes = {"d": caller('[[tool: k {"v": 1}]]'), "t": (TWO, {}), "k": (KEYED, {})}
    graph = await save(optional(draw(nodes, "d.tools -> t.q", "d.tools -> k.v"), "k"))
    run = await start(graph)
    await driver.accept(run.id)
    done = outcomes(await final(run), graph)
    # The only tool that is left takes every name, but not these arguments; asked again, the model fits in.
    assert done["d"][0][1]["tool_functions"][0].count('"name"') == 1
    assert [status for status, _ in done["t"]] == ["COMPLETED"]
    assert "k" not in done


async def test_without_any_tool_the_node_fails(driver: Driver) -> None:
    graph = await save(optional(draw({"d": caller("p"), "k": (KEYED, {})}, "d.tools -> k.v"), "k"))
    run = await start(graph)
    await driver.accept(run.id)
    ((status, output),) = outcomes(await final(run), graph)["d"]
    assert status == "FAILED"
    assert "There is no tool" in output["error"][0]


async def test_a_node_without_its_optional_credentials_is_left_out(driver: Driver) -> None:
    nodes = {"a": (STORE, {"input": 1}), "b": (KEYED, {}), "c": (STORE, {})}
    graph = await save(optional(draw(nodes, "a.output -> b.v", "b.out -> c.input"), "b"))
    before = await credits.balance(ANN.id)
    run = await start(graph)
    await driver.accept(run.id)
    seen = await final(run)
    assert outcomes(seen, graph) == {"a": [("COMPLETED", {"output": [1]})], "b": [("COMPLETED", {})]}
    assert (seen["status"], seen["stats"]["cost"], await credits.balance(ANN.id)) == ("COMPLETED", 0, before)


async def test_a_node_with_its_optional_credentials_runs_and_is_paid(driver: Driver) -> None:
    nodes = {"a": (STORE, {"input": 1}), "b": (KEYED, {})}
    graph = await save(optional(draw(nodes, "a.output -> b.v"), "b"))
    (group,) = graph.credentials_input_schema["properties"]
    body = ExecuteBody(credentials_inputs={group: CREDENTIALS})
    run = await service.start(ANN.id, graph.id, graph.version, body)
    await driver.accept(run.id)
    seen = await final(run)
    assert outcomes(seen, graph)["b"] == [("COMPLETED", {"out": [1]})]
    assert seen["stats"]["cost"] == 1
