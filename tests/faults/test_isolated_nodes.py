"""Isolated nodes with real processes: broken blocks beside good ones, and `kill -9` of who has the node or the run."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import Settings
from agentplat.runs.control import NODE
from tests.conftest import REDIS_DATABASES
from tests.support.client import User, executions
from tests.support.conditions import until
from tests.support.drawing import BLOCK, BLOCK_AGAIN, CRASH, EXIT, SPIN, STEP, STORE, Drawing, draw
from tests.support.gates import Gate
from tests.support.processes import environment, eventually, free_port
from tests.support.services import Servers, create_database, drop_database, redis_database

RUNS, NODES = "worker-of-runs", "worker-of-nodes"


@pytest.fixture(scope="module")
def apart(
    services: Servers, settings: Settings, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform that executes isolated nodes in another process than the one that drives its runs."""
    name = f"agentplat_test_apart_{worker_number}"
    own = msgspec.structs.replace(
        settings,
        database_url=asyncio.run(create_database(services.database_url, name)),
        redis_url=redis_database(services.redis_url, 1 + 2 * REDIS_DATABASES + worker_number % 3),
        home=tmp_path_factory.mktemp("apart"),
        port=free_port(),
    )
    try:
        with Platform(own, workers=0, quiet=True, env=environment(), announce=False) as platform:
            with platform._watching:
                platform._spawn(RUNS, "worker", "--queues", "runs")
                platform._spawn(NODES, "worker", "--queues", "nodes")
            eventually(lambda: platform.child(RUNS).ready and platform.child(NODES).ready, 60)
            yield platform
    finally:
        asyncio.run(drop_database(services.database_url, name))


@pytest.fixture
async def user(platform: Platform, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(platform.url, make_token("isolated")) as one:
        yield one


@pytest.fixture
async def apart_user(apart: Platform, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(apart.url, make_token("isolated")) as one:
        yield one


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def kill(platform: Platform, name: str) -> int:
    pid = platform.child(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def counting(block: str, path: Path, gate: Gate, count: int = 10) -> Drawing:
    """It emits one number, and the others once the gate is open."""
    return draw(
        {"b": (block, {"count": count, "path": str(path), "gate": gate.path}), "s": (STORE, {}), "e": (STORE, {})},
        "b.n -> s.input",
        "b.error -> e.input",
    )


async def test_broken_blocks_fail_their_nodes_and_others_go_on(platform: Platform, user: User) -> None:
    """Both kinds at once, in one run and in others, in the children of one worker, which stays the same process."""
    worker = platform.child("worker").pid
    mixed = draw(
        {
            "st": (STEP, {"items": [1, 2, 3]}),
            "crash": (CRASH, {}),
            "exit": (EXIT, {}),
            "good": (BLOCK, {"count": 1}),
            "e1": (STORE, {}),
            "e2": (STORE, {}),
        },
        "st.item -> crash.v",
        "st.item -> exit.v",
        "st.item -> good.v",
        "crash.error -> e1.input",
        "exit.error -> e2.input",
    )
    graph, names = await user.create(mixed)
    runs = [await user.start(graph) for _ in range(3)]
    for run in runs:
        seen = await user.finished(run, 90)
        assert seen["status"] == "COMPLETED"
        nodes = executions(seen, names)
        assert [status for status, _, _ in nodes["good"]] == ["COMPLETED"] * 3
        assert ["killed by signal 11" in output["output"][0] for _, _, output in nodes["e1"]] == [True] * 3
        assert ["ended with exit status 3" in output["output"][0] for _, _, output in nodes["e2"]] == [True] * 3
    assert platform.child("worker").pid == worker


async def test_stopping_a_run_kills_the_child_in_which_it_spins(platform: Platform, user: User, tmp_path: Path) -> None:
    graph, _ = await user.create(draw({"x": (SPIN, {"path": str(tmp_path / "pid")})}))
    run = await user.start(graph)
    await until(lambda: lines(tmp_path / "pid"))
    pid = int(lines(tmp_path / "pid")[0][0])
    assert (await user.stop(run))["status"] == "TERMINATED"
    await until(lambda: not alive(pid))


async def test_the_death_of_the_process_that_executes_a_node(
    apart: Platform, apart_user: User, tmp_path: Path, gate: Gate
) -> None:
    """What may be repeated is repeated, with each output once; the rest is interrupted. The children die with it."""
    found = {}
    for block in (BLOCK, BLOCK_AGAIN):
        graph, names = await apart_user.create(counting(block, tmp_path / block, gate))
        found[block] = (await apart_user.start(graph), names)
    for block, (run, names) in found.items():
        await until(lambda path=tmp_path / block: lines(path))  # type: ignore[misc]

        async def has_one(run: Any = run, names: Any = names) -> bool:
            return "s" in executions(await apart_user.look(run), names)

        await until(has_one)
    children = [int(line[0]) for block in found for line in lines(tmp_path / block)]
    dead = kill(apart, NODES)
    await until(lambda: not any(map(alive, children)))
    await until(lambda: apart.child(NODES).pid != dead)
    gate.open()

    run, names = found[BLOCK]
    nodes = executions(await apart_user.finished(run, 60), names)
    status, _, output = nodes["b"][0]
    assert status == "FAILED"
    assert "interrupted" in output["error"][0]
    assert "interrupted" in nodes["e"][0][2]["output"][0]
    assert output["n"] == list(range(len(output["n"])))
    assert len(nodes["s"]) == len(output["n"])
    assert len(lines(tmp_path / BLOCK)) == 1

    run, names = found[BLOCK_AGAIN]
    nodes = executions(await apart_user.finished(run, 60), names)
    assert [(status, output) for status, _, output in nodes["b"]] == [("COMPLETED", {"n": list(range(10))})]
    assert [output["output"] for _, _, output in nodes["s"]] == [[n] for n in range(10)]
    begun = lines(tmp_path / BLOCK_AGAIN)
    assert len(begun) == 2
    assert begun[0][2] == begun[1][2]  # the same idempotency key


async def test_a_node_goes_on_while_the_worker_of_its_run_is_killed(
    apart: Platform, apart_user: User, tmp_path: Path, gate: Gate
) -> None:
    log = tmp_path / "log"
    graph, names = await apart_user.create(counting(BLOCK, log, gate))
    run = await apart_user.start(graph)
    await until(lambda: lines(log))
    dead = kill(apart, RUNS)
    await until(lambda: apart.child(RUNS).pid != dead)
    gate.open()
    nodes = executions(await apart_user.finished(run, 60), names)
    assert [(status, output) for status, _, output in nodes["b"]] == [("COMPLETED", {"n": list(range(10))})]
    assert [output["output"] for _, _, output in nodes["s"]] == [[n] for n in range(10)]
    assert len(lines(log)) == 1


async def test_a_job_that_is_delivered_many_times_is_executed_once(
    apart: Platform, apart_user: User, tmp_path: Path, gate: Gate
) -> None:
    log = tmp_path / "log"
    graph, names = await apart_user.create(counting(BLOCK, log, gate, count=4))
    run = await apart_user.start(graph)
    client = Redis.from_url(apart.settings.redis_url or "")
    try:
        jobs = RedisQueue(client, name=f"{{{apart.settings.redis_prefix}}}:nodes")
        await until(lambda: lines(log))
        for number in range(10):
            await jobs.enqueue(NODE, key=f"again-{run['id']}-{number}", timeout=0, run_id=run["id"], activation=1)
        gate.open()
        nodes = executions(await apart_user.finished(run, 60), names)
    finally:
        await client.aclose()
    assert [(status, output) for status, _, output in nodes["b"]] == [("COMPLETED", {"n": [0, 1, 2, 3]})]
    assert len(lines(log)) == 1
