"""A22, A25 and A27 through the API: agents within agents, stops, reviews."""

from typing import Any

from tests.runs.test_reviewing import A27
from tests.runs.test_subruns import CHILD
from tests.support.client import User, executions
from tests.support.conditions import until
from tests.support.drawing import SLOW, STORE, agent, draw


async def test_a22_sub_graph(user: User) -> None:
    child, _ = await user.create(CHILD)
    drawing = draw(
        {
            "src": (STORE, {"input": "P"}),
            "ae": agent(child["id"], child["version"], {"d": "dflt"}, "q d", "ans num"),
            "A": (STORE, {}),
            "N": (STORE, {}),
        },
        "src.output -> ae.q",
        "ae.ans -> A.input",
        "ae.num -> N.input",
    )
    graph, names = await user.create(drawing)
    assert [one["id"] for one in graph["sub_graphs"]] == [child["id"]]
    seen = await user.finished(await user.start(graph))
    nodes = executions(seen, names)
    assert nodes["ae"] == [("COMPLETED", {"d": "dflt", "q": "P"}, {"num": [1, 2], "ans": ["<P>"]})]
    assert nodes["A"] == [("COMPLETED", {"input": "<P>"}, {"output": ["<P>"]})]
    assert [output for _, _, output in nodes["N"]] == [{"output": [1]}, {"output": [2]}]
    assert seen["stats"]["node_exec_count"] == 11
    below = (await user.http.get(f"/api/graphs/{child['id']}/executions")).json()["executions"]
    assert [(one["status"], one["inputs"]) for one in below] == [("COMPLETED", {"d": "dflt", "q": "P"})]


async def test_a25_stop(user: User) -> None:
    drawing = draw(
        {
            "s1": (SLOW, {"v": 1, "delay": 0.2}),
            "n1": (STORE, {}),
            "s2": (SLOW, {"v": 1, "delay": 600}),
            "n2": (STORE, {}),
        },
        "s1.out -> n1.input",
        "s2.out -> n2.input",
    )
    graph, names = await user.create(drawing)
    run = await user.start(graph)

    async def quick_is_over() -> bool:
        return executions(await user.look(run), names).get("n1", [("", 0, 0)])[0][0] == "COMPLETED"

    await until(quick_is_over)
    assert (await user.stop(run))["status"] == "TERMINATED"
    seen = await user.look(run)
    assert {name: [status for status, _, _ in ends] for name, ends in executions(seen, names).items()} == {
        "s1": ["COMPLETED"],
        "n1": ["COMPLETED"],
        "s2": ["TERMINATED"],
    }
    assert seen["stats"]["node_exec_count"] == 3
    assert await user.stop(run) is None


async def test_a27_review(user: User) -> None:
    graph, names = await user.create(A27)
    for approved in (True, False):
        run = await user.start(graph)

        async def waiting(of: str = run["id"]) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await user.http.get(f"/api/review/execution/{of}")).json()
            return found

        (review,) = await until(waiting)
        assert (review["payload"], review["instructions"]) == ("draft", "Draft")
        pending: list[dict[str, Any]] = (await user.http.get("/api/review/pending")).json()
        assert [one["node_exec_id"] for one in pending] == [review["node_exec_id"]]
        items = [{"node_exec_id": review["node_exec_id"], "approved": approved}]
        response = await user.http.post("/api/review/action", json={"reviews": items})
        assert response.json() == {
            "approved_count": int(approved),
            "rejected_count": int(not approved),
            "failed_count": 0,
            "error": None,
        }
        seen = await user.finished(run)
        nodes = executions(seen, names)
        assert (seen["status"], seen["stats"]["node_exec_count"]) == ("COMPLETED", 5)
        assert ("ok" in nodes, "rej" in nodes) == (approved, not approved)
