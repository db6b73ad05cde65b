"""The machine's own promises: illegal messages change nothing, replay gives the same state, in any order of ends."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentplat.blocks.registry import Registry
from agentplat.engine.activation import Activation, CancelNode, FinishRun, StartNode, SuspendRun
from agentplat.engine.compile import compile_graph
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import (
    MailTaken,
    Message,
    NodeEnded,
    NodeReleased,
    NodeStarted,
    NodeSuspended,
    NodeTerminated,
    NodeYielded,
    RunAborted,
    RunBegan,
    RunEnded,
    RunSuspended,
    decode,
    encode,
)
from agentplat.engine.plan import StartError
from agentplat.engine.state import IllegalTransition, Status
from tests.support.drawing import (
    ADD_TO_LIST,
    CALCULATOR,
    CONDITION,
    CREATE_DICT,
    FILL_TEXT,
    INPUT,
    KEYED,
    STEP,
    STORE,
    Drawing,
    draw,
)
from tests.support.pure_run import PureRun

BLOCKS = Registry.load(["tests.support.blocks"]).blocks
SPECS = {block_id: block.spec for block_id, block in BLOCKS.items()}

# block -> (constants, input pins that may be linked, output pins)
KINDS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    STORE: ({"input": 1}, ["input"], ["output"]),
    STEP: ({"items": [3, 1, 2]}, ["items"], ["item", "key", "error"]),
    CALCULATOR: ({"operation": "Add", "a": 1, "b": 2}, ["a", "b"], ["result"]),
    FILL_TEXT: ({"format": "{{x}}", "values": {}}, ["values_#_x", "values_#_y"], ["output"]),
    CREATE_DICT: ({"values": {}}, ["values_#_k", "values_#_l"], ["dictionary", "dictionary_#_k"]),
    ADD_TO_LIST: ({"list": []}, ["list", "entry"], ["updated_list"]),
    CONDITION: ({"operator": "<", "value1": 1, "value2": 2}, ["value1"], ["yes_output", "no_output", "result"]),
}


@st.composite
def drawings(draw_: st.DrawFn) -> Drawing:
    """Random graphs without cycles (so that they end), with fan-out, fan-in, doubled and static links."""
    kinds = draw_(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8))
    links = []
    for sink in range(1, len(kinds)):
        for _ in range(draw_(st.integers(0, 3))):
            source = draw_(st.integers(0, sink - 1))
            out = draw_(st.sampled_from(KINDS[kinds[source]][2]))
            links.append(f"n{source}.{out} -> n{sink}.{draw_(st.sampled_from(KINDS[kinds[sink]][1]))}")
    return draw({f"n{index}": (kind, KINDS[kind][0]) for index, kind in enumerate(kinds)}, *links)


def snapshot(machine: RunMachine) -> bytes:
    """Everything that can be seen of a machine, and what it would do next."""
    return msgspec.json.encode(
        [
            [machine.status, machine.error, machine.started_at, machine.ended_at, machine.aborted],
            [machine.node_count, machine.error_count, machine.nodes_walltime, machine.outputs],
            [
                [getattr(act, name) for name in Activation.__slots__ if name != "node"] + [act.node.id]
                for act in machine.activations
            ],
            [[type(command).__name__, str(getattr(command, "status", ""))] for command in machine.pending()],
            [act.number for act in machine.running()],
        ]
    )


@settings(max_examples=150)
@given(drawings(), st.randoms(use_true_random=False), st.data())
def test_replaying_any_prefix_gives_the_same_state(
    drawing: Drawing, chance: random.Random, data: st.DataObject
) -> None:
    def pick(started: Sequence[Activation]) -> int:
        return chance.randrange(len(started))

    run = PureRun(drawing, BLOCKS, pick=data.draw(st.sampled_from([None, pick])))
    assert run.machine.status is Status.COMPLETED

    cut = data.draw(st.integers(0, len(run.log)))
    live = run.fresh()
    for message in run.log[:cut]:
        live.feed(message)
    replayed = run.fresh()
    for message in decode(encode(run.log[:cut])):
        replayed.feed(message)
    assert snapshot(replayed) == snapshot(live)

    for message in run.log[cut:]:
        replayed.feed(message)
    assert snapshot(replayed) == snapshot(run.machine)


@settings(max_examples=60)
@given(drawings())
def test_every_value_is_routed_once(drawing: Drawing) -> None:
    """Each firing of a link either joined an activation or began one: received values and firings are as many."""
    machine = PureRun(drawing, BLOCKS).machine
    received = sum(len(act.received) for act in machine.activations)
    fired = sum(
        1
        for act in machine.activations
        for name, values in act.outputs.items()
        for link, way in act.node.routes(name)
        for value in values
        if way.exact or (isinstance(value, dict) and value.get("k") is not None)
    )
    assert received == fired


def machine_of(drawing: Drawing, **options: Any) -> RunMachine:
    return RunMachine(compile_graph(drawing.nodes, drawing.links, SPECS), 0, **options)


TWO = draw({"a": (STORE, {"input": 1}), "b": (STORE, {})}, "a.output -> b.input")

LOOP = draw(
    {"st": (STEP, {"items": [1, 2]}), "s": (STORE, {}), "z": (STORE, {})},
    "st.item -> s.input",
    "s.output -> z.input",
)

BEGUN: list[Message] = [RunBegan(1)]
STARTED: list[Message] = [*BEGUN, NodeStarted(1, 2)]
ENDED: list[Message] = [*STARTED, NodeEnded(1, 3, [("output", 1)])]
FINAL: list[Message] = [*ENDED, NodeEnded(2, 4, [("output", 1)], None, 4), RunEnded(5)]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], NodeYielded(1, 1, [])),
        ([], NodeEnded(1, 1, [])),
        (BEGUN, RunBegan(2)),
        (BEGUN, RunEnded(2)),
        (BEGUN, NodeStarted(2, 2)),
        (BEGUN, NodeStarted(0, 2)),
        (BEGUN, NodeTerminated(1, 2)),
        (STARTED, NodeStarted(1, 3)),
        (STARTED, NodeEnded(1, 3, [], None, 2)),
        (ENDED, NodeEnded(1, 4, [])),
        (ENDED, NodeYielded(1, 4, [])),
        ([*STARTED, RunAborted(3)], RunAborted(4)),
        (FINAL, RunBegan(6)),
        (FINAL, RunAborted(6)),
        (FINAL, RunEnded(6)),
        (FINAL, NodeStarted(1, 6)),
        (BEGUN, NodeSuspended(1, 2)),
        (STARTED, NodeReleased(1, 3)),
        (STARTED, RunSuspended(3)),
        ([*STARTED, MailTaken(2, 3)], MailTaken(2, 4)),
        ([*STARTED, NodeSuspended(1, 3)], RunEnded(4)),
        ([*STARTED, NodeSuspended(1, 3)], NodeYielded(1, 4, [])),
        ([*STARTED, NodeSuspended(1, 3), RunSuspended(4)], RunSuspended(5)),
    ],
)
def test_illegal_messages_raise_and_change_nothing(history: list[Message], message: Message) -> None:
    machine = machine_of(TWO)
    for one in history:
        machine.feed(one)
    before = snapshot(machine)
    with pytest.raises(IllegalTransition):
        machine.feed(message)
    assert snapshot(machine) == before


def test_commands_follow_messages() -> None:
    machine = machine_of(TWO)
    (start,) = machine.feed(RunBegan(1))
    assert isinstance(start, StartNode)
    assert machine.feed(NodeStarted(1, 2)) == []
    (following,) = machine.feed(NodeYielded(1, 3, [("output", 7)]))
    assert isinstance(following, StartNode)
    assert following.activation.data == {"input": 7}
    assert machine.feed(NodeEnded(1, 4, [])) == []
    assert machine.feed(NodeEnded(2, 6, [("output", 7)], None, 5)) == [FinishRun(Status.COMPLETED)]
    assert machine.feed(RunEnded(7)) == []
    assert machine.status is Status.COMPLETED


def test_a_stop_ends_what_is_queued_and_cancels_what_runs() -> None:
    machine = machine_of(draw({"a": (STORE, {"input": 1}), "b": (STORE, {"input": 2})}))
    machine.feed(RunBegan(1))
    machine.feed(NodeStarted(1, 2))
    (cancel,) = machine.feed(RunAborted(3))
    assert isinstance(cancel, CancelNode)
    assert [act.status for act in machine.activations] == [Status.RUNNING, Status.TERMINATED]
    assert machine.feed(NodeTerminated(1, 4)) == [FinishRun(Status.TERMINATED)]
    machine.feed(RunEnded(5))
    assert machine.status is Status.TERMINATED
    assert machine.activations[0].ended_at is None
    assert machine.node_count == 1


def test_an_abort_with_a_reason_fails_the_run() -> None:
    machine = machine_of(TWO)
    machine.feed(RunBegan(1))
    assert machine.feed(RunAborted(2, "too long")) == [FinishRun(Status.FAILED)]
    machine.feed(RunEnded(3))
    assert (machine.status, machine.error) == (Status.FAILED, "too long")


def test_nothing_is_routed_after_an_abort() -> None:
    machine = machine_of(TWO)
    machine.feed(RunBegan(1))
    machine.feed(NodeStarted(1, 2))
    machine.feed(RunAborted(3))
    assert machine.feed(NodeEnded(1, 4, [("output", 1)])) == [FinishRun(Status.TERMINATED)]
    assert len(machine.activations) == 1


def test_a_run_may_be_stopped_before_it_began() -> None:
    machine = machine_of(TWO)
    assert machine.feed(RunAborted(1)) == [FinishRun(Status.TERMINATED)]
    machine.feed(RunEnded(2))
    assert machine.status is Status.TERMINATED
    assert machine.started_at is None


def test_skipped_nodes_complete_without_output() -> None:
    drawing = draw(
        {"a": (STORE, {"input": 1}), "b": (STORE, {}), "c": (STORE, {})}, "a.output -> b.input", "b.output -> c.input"
    )
    machine = machine_of(drawing, skipped=frozenset({"b"}))
    machine.feed(RunBegan(1))
    assert machine.feed(NodeEnded(1, 2, [("output", 1)], None, 1)) == [FinishRun(Status.COMPLETED)]
    assert [(act.node.id, act.status, act.outputs) for act in machine.activations][1:] == [("b", Status.COMPLETED, {})]
    assert machine.node_count == 1


def test_a_node_is_skipped_for_what_it_lacks() -> None:
    """Nobody waits for the inputs of a block that does not run, at the beginning of a run or in it."""
    drawing = draw({"a": (STORE, {"input": 1}), "b": (KEYED, {}), "c": (KEYED, {"v": 2})}, "a.output -> b.v")
    machine = machine_of(drawing, skipped=frozenset({"b", "c"}))
    machine.feed(RunBegan(1))
    store = next(act for act in machine.activations if act.node.id == "a")
    assert machine.feed(NodeEnded(store.number, 2, [("output", 1)], None, 1)) == [FinishRun(Status.COMPLETED)]
    seen = {act.node.id: (act.status, act.data) for act in machine.activations if act is not store}
    assert seen == {"b": (Status.COMPLETED, {"v": 1}), "c": (Status.COMPLETED, {"v": 2})}


def test_later_activations_of_a_node_wait_with_their_outputs() -> None:
    drawing = draw(
        {"st": (STEP, {"items": [1, 2]}), "s": (STORE, {}), "z": (STORE, {})},
        "st.item -> s.input",
        "s.output -> z.input",
    )
    machine = machine_of(drawing)
    machine.feed(RunBegan(1))
    machine.feed(NodeEnded(1, 2, [("item", 1), ("item", 2)], None, 1))
    machine.feed(NodeStarted(2, 3))
    machine.feed(NodeStarted(3, 3))
    assert machine.feed(NodeEnded(3, 4, [("output", 2)])) == []
    first, second = machine.feed(NodeEnded(2, 5, [("output", 1)]))
    assert isinstance(first, StartNode)
    assert isinstance(second, StartNode)
    assert [first.activation.data, second.activation.data] == [{"input": 1}, {"input": 2}]


def test_a_terminated_activation_lets_later_ones_through() -> None:
    drawing = draw(
        {"st": (STEP, {"items": [1, 2]}), "s": (STORE, {}), "z": (STORE, {})},
        "st.item -> s.input",
        "s.output -> z.input",
    )
    machine = machine_of(drawing)
    machine.feed(RunBegan(1))
    machine.feed(NodeEnded(1, 2, [("item", 1), ("item", 2)], None, 1))
    machine.feed(NodeStarted(2, 3))
    machine.feed(NodeStarted(3, 3))
    machine.feed(NodeEnded(3, 4, [("output", 2)]))
    (start,) = machine.feed(NodeTerminated(2, 5))
    assert isinstance(start, StartNode)
    assert start.activation.data == {"input": 2}


def test_a_run_is_suspended_when_all_that_is_left_waits_for_a_person() -> None:
    machine = machine_of(TWO)
    for message in STARTED:
        machine.feed(message)
    assert machine.feed(NodeSuspended(1, 3)) == [SuspendRun()]
    assert machine.feed(RunSuspended(4)) == []
    assert machine.status is Status.REVIEW
    assert machine.node_count == 1
    assert machine.feed(RunBegan(5)) == [SuspendRun()]
    (start,) = machine.feed(NodeEnded(1, 6, [("output", 8)]))
    assert isinstance(start, StartNode)
    assert start.activation.data == {"input": 8}
    assert machine.started_at == 1
    assert machine.node_count == 2


def test_waiting_for_a_person_is_no_work() -> None:
    machine = machine_of(TWO)
    assert machine.worked.read(3) == 0
    for message in [RunBegan(10), NodeStarted(1, 11), NodeSuspended(1, 13)]:
        machine.feed(message)
    assert machine.worked.read(14) == 4
    machine.feed(RunSuspended(15))
    assert machine.worked.read(999) == 5
    machine.feed(RunBegan(1000))
    machine.feed(NodeEnded(1, 1001, [("output", 8)]))
    machine.feed(NodeEnded(2, 1003, [], None, 1002))
    machine.feed(RunEnded(1004))
    assert machine.worked.read(2000) == 5 + 4


def test_a_released_node_runs_with_what_the_reviewer_made_of_its_input() -> None:
    machine = machine_of(TWO)
    for message in [*STARTED, NodeSuspended(1, 3)]:
        machine.feed(message)
    (start,) = machine.feed(NodeReleased(1, 4, {"input": 5}))
    assert isinstance(start, StartNode)
    assert start.activation.data == {"input": 5}
    assert start.activation.reviewed


def test_a_stop_ends_what_waits_for_a_person() -> None:
    machine = machine_of(TWO)
    for message in [*STARTED, NodeSuspended(1, 3), RunSuspended(4)]:
        machine.feed(message)
    assert machine.feed(RunAborted(5)) == [FinishRun(Status.TERMINATED)]
    assert machine.activations[0].status is Status.TERMINATED
    machine.feed(RunEnded(6))
    assert machine.worked.read(7) == 3


def test_nobody_waits_for_a_person_but_who_must() -> None:
    """The second activation's output passes the first one, which is under review."""
    machine = machine_of(LOOP)
    machine.feed(RunBegan(1))
    machine.feed(NodeEnded(1, 2, [("item", 1), ("item", 2)], None, 1))
    machine.feed(NodeStarted(2, 3))
    machine.feed(NodeStarted(3, 3))
    machine.feed(NodeSuspended(2, 4))
    (start,) = machine.feed(NodeEnded(3, 5, [("output", 2)]))
    assert isinstance(start, StartNode)
    assert start.activation.data == {"input": 2}


def test_inputs_that_can_not_begin_a_run_are_refused() -> None:
    linked_input = draw({"a": (STORE, {"input": 1}), "i": (INPUT, {"name": "x"})}, "a.output -> i.value")
    with pytest.raises(StartError, match=r"unpopulated links \['value'\]"):
        machine_of(linked_input)
    assert machine_of(linked_input, inputs={"x": 1}).activations
    with pytest.raises(StartError, match="No starting nodes found"):
        machine_of(draw({"a": (STORE, {}), "b": (STORE, {})}, "a.output -> b.input", "b.output -> a.input"))
    with pytest.raises(StartError, match="AgentInputBlock"):
        machine_of(draw({"i": (INPUT, {})}))


def test_the_observer_sees_the_contracts_sequence_of_a_passthrough() -> None:
    drawing = draw({"in": (INPUT, {"name": "x"}), "out": (STORE, {})}, "in.result -> out.input")
    seen: list[tuple[str, str, int]] = []

    class Recorder:
        machine: RunMachine

        def node_changed(self, activation: Activation) -> None:
            seen.append((activation.node.id, activation.status, sum(map(len, activation.outputs.values()))))

        def run_changed(self) -> None:
            seen.append(("run", self.machine.status, self.machine.node_count))

    recorder = Recorder()
    machine = recorder.machine = machine_of(drawing, inputs={"x": "hi"}, observer=recorder)
    machine.feed(RunBegan(1))
    machine.feed(NodeEnded(1, 2, [("result", "hi")], None, 1))
    machine.feed(NodeEnded(2, 3, [("output", "hi")], None, 2))
    machine.feed(RunEnded(4))
    assert seen == [
        ("run", "RUNNING", 0),
        ("in", "RUNNING", 0),
        ("in", "RUNNING", 1),
        ("in", "COMPLETED", 1),
        ("run", "RUNNING", 1),
        ("out", "INCOMPLETE", 0),
        ("out", "QUEUED", 0),
        ("out", "RUNNING", 0),
        ("out", "RUNNING", 1),
        ("out", "COMPLETED", 1),
        ("run", "RUNNING", 2),
        ("run", "COMPLETED", 2),
    ]
