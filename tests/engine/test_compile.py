import pytest

from agentplat.blocks.registry import Registry
from agentplat.engine.compile import CompileError, compile_graph, repair_static
from agentplat.engine.graph import Link, Node
from tests.support.drawing import CALCULATOR, STEP, STORE, Drawing, draw

SPECS = {block_id: block.spec for block_id, block in Registry.load([]).blocks.items()}


def problems(drawing: Drawing) -> list[tuple[str | None, str | None, str]]:
    with pytest.raises(CompileError) as raised:
        compile_graph(drawing.nodes, drawing.links, SPECS)
    assert str(raised.value) == raised.value.problems[0].message
    return [(problem.node_id, problem.field, problem.message) for problem in raised.value.problems]


def test_every_problem_is_reported_at_once() -> None:
    drawing = draw(
        {"a": (STORE, {}), "b": (CALCULATOR, {}), "c": ("no-such-block", {})},
        "a.output -> ghost.input",
        "a.nonsense -> b.a",
        "a.output -> b.values_#_x",
        "c.anything -> b.a",
    )
    found = problems(drawing)
    assert [(node, field) for node, field, _ in found] == [
        ("c", None),
        ("ghost", None),
        ("a", "nonsense"),
        ("b", "values_#_x"),
    ]
    messages = [message for _, _, message in found]
    assert messages[0] == "Invalid block no-such-block for node #c"
    assert "ghost is invalid node id, available nodes: ['a', 'b', 'c']" in messages[1]
    assert "`nonsense` invalid, Allowed fields: ['error', 'output']" in messages[2]
    assert messages[3].startswith("Link ('a', 'output') <-> ('b', 'values_#_x'), `values_#_x` invalid")


def test_a_node_id_that_is_used_twice() -> None:
    nodes = [Node(id="a", block_id=STORE), Node(id="a", block_id=STORE)]
    assert problems(Drawing(nodes, []))[0][2] == "Node id a is used twice"


def test_tool_pins_always_pass() -> None:
    drawing = draw({"a": (STORE, {"input": 1}), "b": (STORE, {})}, "a.tools_^_x_~_y -> b.input")
    assert compile_graph(drawing.nodes, drawing.links, SPECS).by_id["b"].linked == ("input",)


def test_static_flags_are_raised_and_never_lowered() -> None:
    drawing = draw({"s": (STORE, {"input": 1}), "st": (STEP, {}), "c": (CALCULATOR, {})})
    links = [
        Link(source_id="s", source_name="output", sink_id="c", sink_name="a"),
        Link(source_id="st", source_name="item", sink_id="c", sink_name="b", is_static=True),
        Link(source_id="st", source_name="item", sink_id="c", sink_name="b"),
    ]
    assert [link.is_static for link in repair_static(drawing.nodes, links, SPECS)] == [True, True, False]
    plan = compile_graph(drawing.nodes, links, SPECS)
    assert plan.by_id["c"].static_pins == ("a", "b")


def test_a_plan_has_indices_in_the_order_of_the_graph() -> None:
    drawing = draw({"a": (STORE, {"input": 1}), "b": (STORE, {}), "c": (STORE, {})}, "a.output -> c.input")
    plan = compile_graph(drawing.nodes, drawing.links, SPECS)
    assert [node.id for node in plan.nodes] == ["a", "b", "c"]
    assert [link.sink for link in plan.nodes[0].links] == [2]
    assert [node.is_start for node in plan.nodes] == [True, True, False]
