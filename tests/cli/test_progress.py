from io import StringIO

from rich.console import Console

from agentplat.cli.platform_client import Graph, InputSchema, Node
from agentplat.cli.progress import Display, Tally
from agentplat.client import NodeExecution

STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"


def tally() -> Tally:
    nodes = [
        Node("a", STORE, {}, {"customized_name": "Keep [it]"}),
        Node("b", STORE, {"name": "result"}, {}),
        Node("c", STORE, {}, {}),
    ]
    return Tally(Graph("g", 1, "G", nodes, InputSchema(), InputSchema()), {STORE: "StoreValueBlock"})


def event(node_id: str, number: int, status: str, error: str = "") -> NodeExecution:
    output = {"error": [error]} if error else {}
    return NodeExecution(node_id=node_id, node_exec_id=f"{node_id}{number}", status=status, output_data=output)


def test_nodes_are_named_by_people_then_by_pin_then_by_block() -> None:
    assert [node.name for node in tally().nodes.values()] == ["Keep [it]", "result", "StoreValue"]


def test_executions_are_counted_by_their_latest_status() -> None:
    counting = tally()
    for number in range(3):
        for status in ("QUEUED", "RUNNING", "COMPLETED"):
            counting.take(event("a", number, status))
    counting.take(event("a", 3, "RUNNING"))
    assert counting.nodes["a"].summary() == "3 done, 1 running"
    assert counting.total("COMPLETED", "FAILED") == 3


def test_late_and_repeated_events_change_nothing() -> None:
    counting = tally()
    for status in ("COMPLETED", "RUNNING", "COMPLETED", "INCOMPLETE"):
        counting.take(event("a", 1, status))
    counting.take(event("gone", 1, "RUNNING"))
    assert counting.nodes["a"].summary() == "1 done"


def test_the_platform_has_the_last_word() -> None:
    counting = tally()
    counting.take(event("a", 1, "RUNNING"))
    counting.restart([event("b", 1, "FAILED", "no")])
    assert [node.summary() for node in counting.nodes.values()] == ["", "1 failed", ""]


async def test_plain_output_has_a_line_per_changed_node_and_not_per_execution() -> None:
    counting = tally()
    screen = StringIO()
    display = Display(Console(file=screen, force_terminal=False), counting)
    async with display.showing():
        for number in range(1000):
            counting.take(event("a", number, "COMPLETED"))
    display.close()
    display.close()
    assert screen.getvalue() == "  Keep [it] (StoreValue): 1000 done\n"


def test_the_tree_shows_every_node_and_takes_names_literally() -> None:
    counting = tally()
    counting.take(event("a", 1, "FAILED", "[no] reason"))
    screen = StringIO()
    Display(Console(file=screen, force_terminal=True, width=100, no_color=True), counting).close()
    shown = screen.getvalue()
    assert "Keep [it]" in shown
    assert "1 failed" in shown
    assert "[no] reason" in shown
    assert "1 node executions" in shown
