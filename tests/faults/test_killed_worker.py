"""`kill -9` of the only worker in the middle of runs: nothing is lost, nothing is recorded twice."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agentplat.cli.supervisor import Platform
from tests.support.client import User, executions
from tests.support.conditions import until
from tests.support.drawing import EFFECT, SPILL, STEP, STORE, draw


@pytest.fixture
async def user(platform: Platform, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(platform.url, make_token("faults")) as one:
        yield one


def kill_worker(platform: Platform) -> int:
    pid = platform.child("worker").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def another_worker(platform: Platform, dead: int) -> None:
    await until(lambda: (child := platform.child("worker")).pid != dead and child.ready)


async def test_a_stream_of_outputs_survives_three_killed_workers(platform: Platform, user: User) -> None:
    drawing = draw({"p": (SPILL, {"count": 60, "delay": 0.02}), "s": (STORE, {})}, "p.n -> s.input")
    graph, names = await user.create(drawing)
    run = await user.start(graph)
    for outputs in (5, 10, 15):

        async def are_there(wanted: int = outputs) -> bool:
            return len(executions(await user.look(run), names).get("s", [])) >= wanted

        await until(are_there)
        await another_worker(platform, kill_worker(platform))
    seen = await user.finished(run, 60)
    assert seen["status"] == "COMPLETED"
    nodes = executions(seen, names)
    assert nodes["p"] == [("COMPLETED", {"count": 60, "delay": 0.02}, {"n": list(range(60))})]
    assert nodes["s"] == [("COMPLETED", {"input": n}, {"output": [n]}) for n in range(60)]
    assert seen["stats"]["node_exec_count"] == 61


async def test_many_runs_survive_and_effects_happen_at_most_once(
    platform: Platform, user: User, tmp_path: Path
) -> None:
    """Each run does an effect per item. Afterwards every effect was begun at most once, and every run is final."""
    log = tmp_path / "log"
    log.touch()
    drawing = draw(
        {
            "st": (STEP, {"items": list(range(8))}),
            "e": (EFFECT, {"path": str(log), "delay": 0.05}),
            "s": (STORE, {}),
            "err": (STORE, {}),
        },
        "st.item -> e.v",
        "e.out -> s.input",
        "e.error -> err.input",
    )
    graph, names = await user.create(drawing)
    runs = [await user.start(graph) for _ in range(10)]
    await until(lambda: len(log.read_text().splitlines()) >= 20)
    await another_worker(platform, kill_worker(platform))
    begun: list[str] = []
    for run in runs:
        seen = await user.finished(run, 60)
        assert seen["status"] == "COMPLETED"
        nodes = executions(seen, names)
        states = [status for status, _, _ in nodes["e"]]
        assert len(states) == 8
        assert len(nodes.get("s", [])) == states.count("COMPLETED")
        assert len(nodes.get("err", [])) == states.count("FAILED")
    for line in log.read_text().splitlines():
        state, key = line.split()
        if state == "begun":
            begun.append(key)
    assert len(begun) == len(set(begun))
