"""A24 and A28 through the API: a model calls a node, and a node is left out for want of credentials."""

import pytest

from tests.runs.test_tools import WORK_LINKS, caller, optional
from tests.support.client import User, executions
from tests.support.drawing import KEYED, STORE, TWO, draw


@pytest.mark.parametrize("pin", ["tools", "tools_^_whatever_~_zzz"], ids=["new links", "old links"])
async def test_a24_one_tool_call(user: User, pin: str) -> None:
    nodes = {"d": caller('[[tool: t {"q": "x"}]]'), "t": (TWO, {}), "z": (STORE, {})}
    graph, names = await user.create(draw(nodes, f"d.{pin} -> t.q", f"d.{pin} -> t.u", "t.o -> z.input"))
    seen = await user.finished(await user.start(graph))
    found = executions(seen, names)
    (tool_id,) = [node_id for node_id, name in names.items() if name == "t"]
    ((status, _, decided),) = found["d"]
    assert status == "COMPLETED"
    assert (decided[f"tools_^_{tool_id}_~_q"], decided[f"tools_^_{tool_id}_~_u"]) == (["x"], [None])
    assert found["t"] == [("COMPLETED", {"q": "x"}, {"o": ["xdflt"]})]
    assert found["z"] == [("COMPLETED", {"input": "xdflt"}, {"output": ["xdflt"]})]
    assert (seen["status"], seen["stats"]["node_exec_count"]) == ("COMPLETED", 3)


async def test_a24_agent_mode(user: User) -> None:
    nodes = {"d": caller('[[tool: t {"q": "x"}]]', agent_mode_max_iterations=1), "t": (TWO, {}), "z": (STORE, {})}
    graph, names = await user.create(draw(nodes, *WORK_LINKS))
    seen = await user.finished(await user.start(graph))
    found = executions(seen, names)
    assert found["t"] == [("COMPLETED", {"q": "x", "u": None}, {"o": ["xdflt"]})]
    assert found["z"] == [("COMPLETED", {"input": "xdflt"}, {"output": ["xdflt"]})]
    assert (seen["status"], seen["stats"]["node_exec_count"]) == ("COMPLETED", 3)


async def test_a28_optional_credentials(user: User) -> None:
    nodes = {"a": (STORE, {"input": 1}), "b": (KEYED, {}), "c": (STORE, {})}
    graph, names = await user.create(optional(draw(nodes, "a.output -> b.v", "b.out -> c.input"), "b"))
    seen = await user.finished(await user.start(graph))
    found = executions(seen, names)
    assert set(found) == {"a", "b"}
    assert [(status, output) for status, _, output in found["b"]] == [("COMPLETED", {})]
    assert (seen["status"], seen["stats"]["error"]) == ("COMPLETED", None)
