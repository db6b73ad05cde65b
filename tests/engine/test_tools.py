"""Nodes that are called as tools: what they are, when they are ready, and when their caller is."""

from typing import Any

import pytest

from agentplat.blocks.registry import Registry
from agentplat.engine.activation import Activation, AnswerCall, CancelNode, FinishRun, StartNode
from agentplat.engine.compile import compile_graph
from agentplat.engine.graph import Node
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import (
    NodeEnded,
    NodeStarted,
    NodeTerminated,
    NodeYielded,
    Outputs,
    RunAborted,
    RunBegan,
    ToolCalled,
)
from agentplat.engine.state import IllegalTransition, Status
from agentplat.sdk.tools import pending_calls
from tests.support.drawing import DECIDE, FILL_TEXT, INPUT, STEP, STORE, TWO, Drawing, agent, draw

SPECS = {block_id: block.spec for block_id, block in Registry.load(["tests.support.blocks"]).blocks.items()}
CREDENTIALS = {"id": "c", "provider": "openai", "type": "api_key"}
CALLER = (DECIDE, {"prompt": "p", "credentials": CREDENTIALS})
ASKED = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function"}]}


class Scripted:
    """A run in which a test says what each node emits."""

    def __init__(self, drawing: Drawing, masks: dict[str, dict[str, Any]] | None = None) -> None:
        plan = compile_graph(drawing.nodes, drawing.links, SPECS)
        self.machine = RunMachine(plan, 0, masks=masks)
        self.machine.feed(RunBegan(1))
        self._at = 1

    def emit(self, number: int, *outputs: tuple[str, Any]) -> list[Activation]:
        """End an activation with these outputs. What starts because of it."""
        self._at += 1
        commands = self.machine.feed(NodeEnded(number, self._at, list(outputs), None, self._at))
        return [command.activation for command in commands if isinstance(command, StartNode)]

    def of(self, node: str) -> list[tuple[Status, dict[str, Any]]]:
        found = [act for act in self.machine.activations if act.node.id == node]
        return [(act.status, act.received if act.data is None else act.data) for act in found]


def call(**arguments: Any) -> Outputs:
    return [(f"tools_^_t_~_{name}", value) for name, value in arguments.items()]


@pytest.mark.parametrize("pin", ["tools", "tools_^_whatever_~_zzz"])
def test_a_call_without_an_optional_argument_runs_the_tool(pin: str) -> None:
    run = Scripted(draw({"d": CALLER, "t": (TWO, {})}, f"d.{pin} -> t.q", f"d.{pin} -> t.u"))
    assert [act.data for act in run.emit(1, *call(q="x", u=None))] == [{"q": "x"}]


def test_of_an_argument_that_is_left_out_the_constant_holds() -> None:
    run = Scripted(draw({"d": CALLER, "t": (TWO, {"u": "c"})}, "d.tools -> t.q", "d.tools -> t.u"))
    assert [act.data for act in run.emit(1, *call(q="x", u=None))] == [{"q": "x", "u": "c"}]


def test_a_part_that_is_left_out_is_not_put_in() -> None:
    tool = (FILL_TEXT, {"format": "{{a}}{{b}}"})
    run = Scripted(draw({"d": CALLER, "t": tool}, "d.tools -> t.values_#_a", "d.tools -> t.values_#_b"))
    (started,) = run.emit(1, *call(**{"values_#_a": "x", "values_#_b": None}))
    assert started.data == {"format": "{{a}}{{b}}", "values_#_a": "x", "values": {"a": "x"}}


def test_without_a_required_argument_the_tool_is_not_ready() -> None:
    run = Scripted(draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.q", "d.tools -> t.u"))
    assert run.emit(1, *call(q=None, u="y")) == []
    assert run.of("t") == [(Status.INCOMPLETE, {"u": "y"})]


def test_arguments_of_several_calls_do_not_mix() -> None:
    """What one call leaves out, the next one must not fill in."""
    drawing = draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.q", "d.tools -> t.u")
    run = Scripted(drawing)
    calls = [*call(q="1", u=None), *call(q="2", u="b"), *call(q="3", u=None), *call(q="4", u="d")]
    wanted = [{"q": "1"}, {"q": "2", "u": "b"}, {"q": "3"}, {"q": "4", "u": "d"}]
    assert [act.data for act in run.emit(1, *calls)] == wanted


def test_a_tool_waits_for_what_comes_from_elsewhere() -> None:
    drawing = draw({"d": CALLER, "s": (STORE, {"input": "s"}), "t": (TWO, {})}, "s.output -> t.q", "d.tools -> t.u")
    run = Scripted(drawing)
    caller, store = (next(a.number for a in run.machine.activations if a.node.id == name) for name in ("d", "s"))
    assert run.emit(caller, *call(u=None)) == []
    assert run.of("t") == [(Status.INCOMPLETE, {})]
    assert [act.data for act in run.emit(store, ("output", "s"))] == [{"q": "s"}]


def test_a_mask_holds_where_an_argument_is_left_out() -> None:
    drawing = draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.q", "d.tools -> t.u")
    run = Scripted(drawing, {"t": {"u": "m"}})
    assert [act.data for act in run.emit(1, *call(q="x", u=None))] == [{"q": "x", "u": "m"}]


def test_a_call_may_be_recorded_in_pieces() -> None:
    """What was left out is part of the record: the same messages give the same activations, however they are cut."""
    drawing = draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.u", "d.tools -> t.q")
    run = Scripted(drawing)
    run.machine.feed(NodeStarted(1, 2))
    assert run.machine.feed(NodeYielded(1, 3, call(u=None))) == []
    (command,) = run.machine.feed(NodeYielded(1, 4, call(q="x")))
    assert isinstance(command, StartNode)
    assert command.activation.data == {"q": "x"}


LOOP = draw(
    {"i": (INPUT, {"name": "p", "value": "go"}), "d": (DECIDE, {"credentials": CREDENTIALS}), "t": (TWO, {})},
    "i.result -> d.prompt",
    "d.tools -> t.q",
    "t.o -> d.last_tool_output",
    "d.conversations -> d.conversation_history",
)


def begun_loop() -> Scripted:
    run = Scripted(LOOP)
    (caller,) = run.emit(1, ("result", "go"))
    assert caller.data == {"prompt": "go", "credentials": CREDENTIALS}
    return run


def test_a_loop_goes_on_when_the_tool_has_answered() -> None:
    run = begun_loop()
    (tool,) = run.emit(2, *call(q="x"), ("conversations", [ASKED]))
    assert run.of("d")[1:] == [(Status.INCOMPLETE, {"conversation_history": [ASKED]})]
    (caller,) = run.emit(tool.number, ("o", "answer"))
    assert caller.data == {
        "prompt": "go",
        "credentials": CREDENTIALS,
        "conversation_history": [ASKED],
        "last_tool_output": "answer",
    }


def test_an_answer_waits_for_the_conversation_that_asked() -> None:
    run = begun_loop()
    run.machine.feed(NodeStarted(2, 3))
    (started,) = run.machine.feed(NodeYielded(2, 4, call(q="x")))
    assert isinstance(started, StartNode)
    assert run.emit(started.activation.number, ("o", "answer")) == []
    assert run.of("d")[1:] == [(Status.INCOMPLETE, {"last_tool_output": "answer"})]
    (caller,) = [c.activation for c in run.machine.feed(NodeEnded(2, 9, [("conversations", [ASKED])])) if c]  # type: ignore[union-attr]
    assert caller.data is not None
    assert caller.data["last_tool_output"] == "answer"


def test_two_answers_are_two_turns() -> None:
    """The second turn finds the conversation that the first one hands on."""
    run = begun_loop()
    two = {**ASKED, "tool_calls": [{"id": "call_1"}, {"id": "call_2"}]}
    first, second = run.emit(2, *call(q="x"), *call(q="y"), ("conversations", [two]))
    (turn,) = run.emit(first.number, ("o", "1"))
    assert run.emit(second.number, ("o", "2")) == []
    answered = [two, {"role": "tool", "tool_call_id": "call_1", "content": "1"}]
    (turn,) = run.emit(turn.number, ("conversations", answered))
    assert turn.data is not None
    assert (turn.data["conversation_history"], turn.data["last_tool_output"]) == (answered, "2")


@pytest.mark.parametrize(
    "links",
    [
        ("s.item -> d.prompt", "t.o -> d.last_tool_output"),
        ("s.item -> d.prompt", "d.conversations -> d.conversation_history"),
        ("s.item -> d.prompt", "k.output -> d.last_tool_output", "d.conversations -> d.conversation_history"),
    ],
    ids=["no history", "no answer", "static answer"],
)
def test_a_loop_that_is_wired_wrongly_never_begins(links: tuple[str, ...]) -> None:
    nodes = {"s": (STEP, {"items": ["p"]}), "k": (STORE, {"input": 1}), "d": CALLER, "t": (TWO, {})}
    run = Scripted(draw(nodes, "d.tools -> t.q", *links))
    step = next(act.number for act in run.machine.activations if act.node.id == "s")
    assert run.emit(step, ("item", "p")) == []
    assert run.of("d") == [(Status.INCOMPLETE, {"prompt": "p"})]


def test_other_links_are_waited_for() -> None:
    nodes = {"s": (STEP, {"items": ["p"]}), "d": CALLER, "t": (TWO, {})}
    run = Scripted(draw(nodes, "d.tools -> t.q", "s.item -> d.prompt", "s.key -> d.sys_prompt"))
    assert run.emit(1, ("item", "p")) == []
    assert run.of("d") == [(Status.INCOMPLETE, {"prompt": "p"})]


def test_tools_are_the_sinks_of_tool_links_with_their_pins() -> None:
    drawing = draw(
        {
            "d": CALLER,
            "t": (TWO, {}),
            "f": (FILL_TEXT, {}),
            "a": agent("g", 3, {}, "topic", "answer"),
            "s": (STORE, {}),
        },
        "d.tools -> t.q",
        "d.tools_^_fill_~_name -> f.values_#_name",
        "d.tools -> t.u",
        "d.tools -> a.topic",
        "d.finished -> s.input",
    )
    named = [
        Node(id=node.id, block_id=node.block_id, input_default=node.input_default, metadata={"customized_name": "My"})
        if node.id == "f"
        else node
        for node in drawing.nodes
    ]
    two, fill, other = compile_graph(named, drawing.links, SPECS).by_id["d"].tools
    assert [(tool.node_id, tool.name, tool.agent) for tool in (two, fill, other)] == [
        ("t", "TwoBlock", None),
        ("f", "My", None),
        ("a", "", ("g", 3)),
    ]
    assert [(pin.name, pin.base, pin.required) for pin in (*two.pins, *fill.pins, *other.pins)] == [
        ("q", "q", True),
        ("u", "u", False),
        ("values_#_name", "values", True),
        ("topic", "topic", False),
    ]


@pytest.mark.parametrize(
    ("conversation", "pending"),
    [
        (None, []),
        ("no conversation", []),
        ([None, 5, {"role": "user", "content": "hi"}], []),
        ([ASKED], ["call_1"]),
        ([ASKED, {"role": "tool", "tool_call_id": "call_1", "content": ""}], []),
        ([{"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1"}]}], ["toolu_1"]),
        (
            [
                {"role": "assistant", "content": [{"type": "tool_use", "id": n} for n in ("toolu_1", "toolu_2")]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
            ],
            ["toolu_2"],
        ),
        ([{"role": "tool", "tool_call_id": "call_1"}, ASKED], ["call_1"]),
    ],
)
def test_pending_calls(conversation: Any, pending: list[str]) -> None:
    assert pending_calls(conversation) == pending


# --- calls that a running node makes


def called(run: Scripted, node: str, arguments: dict[str, Any]) -> list[Any]:
    if run.machine.activations[0].status is Status.QUEUED:
        run.machine.feed(NodeStarted(1, 2))
    return list(run.machine.feed(ToolCalled(1, 3, node, arguments)))


def test_a_called_tool_runs_and_its_caller_is_told() -> None:
    nodes = {"d": CALLER, "t": (TWO, {}), "z": (STORE, {})}
    run = Scripted(draw(nodes, "d.tools -> t.q", "d.tools -> t.u", "t.o -> z.input"))
    (start,) = called(run, "t", {"q": "x", "u": None})
    tool, caller = start.activation, run.machine.activations[0]
    assert tool.data == {"q": "x", "u": None}
    told, routed = run.machine.feed(NodeEnded(tool.number, 4, [("o", "xdflt")], None, 4))[::-1]
    assert told == AnswerCall(caller)
    assert isinstance(routed, StartNode)
    assert routed.activation.data == {"input": "xdflt"}
    assert caller.calls == (tool,)
    assert caller.status is Status.RUNNING


def test_a_call_and_values_from_elsewhere_do_not_meet() -> None:
    nodes = {"d": CALLER, "s": (STEP, {"items": ["s"]}), "t": (TWO, {})}
    run = Scripted(draw(nodes, "d.tools -> t.q", "s.item -> t.u"))
    step = next(act for act in run.machine.activations if act.node.id == "s")
    caller = next(act for act in run.machine.activations if act.node.id == "d")
    run.emit(step.number, ("item", "s"))
    run.machine.feed(NodeStarted(caller.number, 5))
    assert run.machine.feed(ToolCalled(caller.number, 6, "t", {"q": "x"})) == [AnswerCall(caller)]
    assert [status for status, _ in run.of("t")] == [Status.INCOMPLETE, Status.FAILED]
    assert "mismatch" in caller.calls[0].outputs["error"][0]


def test_static_values_meet_every_call() -> None:
    nodes = {"k": (STORE, {"input": "k"}), "d": CALLER, "t": (TWO, {})}
    run = Scripted(draw(nodes, "d.tools -> t.q", "k.output -> t.u"))
    caller, store = (next(a for a in run.machine.activations if a.node.id == name) for name in ("d", "k"))
    run.machine.feed(NodeStarted(caller.number, 2))
    assert run.machine.feed(ToolCalled(caller.number, 3, "t", {"q": "too early"})) == [AnswerCall(caller)]
    assert run.emit(store.number, ("output", "k")) == []
    started = [run.machine.feed(ToolCalled(caller.number, 9, "t", {"q": q}))[0] for q in ("1", "2")]
    assert [one.activation.data for one in started if isinstance(one, StartNode)] == [
        {"u": "k", "q": "1"},
        {"u": "k", "q": "2"},
    ]


def test_a_mask_holds_for_called_tools() -> None:
    """Credentials come that way."""
    run = Scripted(draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.q"), {"t": {"u": "m"}})
    (start,) = called(run, "t", {"q": "x"})
    assert start.activation.data == {"q": "x", "u": "m"}


def test_calls_are_only_made_by_what_runs() -> None:
    run = Scripted(draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.q"))
    with pytest.raises(IllegalTransition):
        run.machine.feed(ToolCalled(1, 2, "t", {"q": "x"}))
    run.machine.feed(NodeStarted(1, 2))
    with pytest.raises(IllegalTransition):
        run.machine.feed(ToolCalled(1, 3, "nowhere", {}))
    assert len(run.machine.activations) == 1


def test_a_stop_ends_caller_and_tool() -> None:
    run = Scripted(draw({"d": CALLER, "t": (TWO, {})}, "d.tools -> t.q"))
    called(run, "t", {"q": "x"})
    (cancel,) = run.machine.feed(RunAborted(4))
    assert isinstance(cancel, CancelNode)
    assert [act.status for act in run.machine.activations] == [Status.RUNNING, Status.TERMINATED]
    assert run.machine.feed(NodeTerminated(1, 5)) == [FinishRun(Status.TERMINATED)]
