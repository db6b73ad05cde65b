"""Isolated nodes: their jobs, what comes back as mail, and everything that can be lost on the way."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from agentplat.credits import service as credits
from agentplat.engine.messages import NodeStarted, RunBegan
from agentplat.infra.db import Database
from agentplat.infra.db import db as database
from agentplat.infra.settings import Settings, get_settings
from agentplat.runs import mail, nodejobs, service
from agentplat.runs.driver import Driver
from agentplat.runs.letters import Addressed, NodeReported
from agentplat.runs.models import RunMeta
from agentplat.runs.nodehost import NodeHost
from agentplat.runs.nodes import now_us
from agentplat.runs.reading import INTERRUPTED
from tests.runs.test_driver import DeadWorker
from tests.runs.test_policies import retries_of, with_metadata
from tests.support.conditions import until
from tests.support.drawing import (
    BLOCK,
    BLOCK_AGAIN,
    CRASH,
    FLAKY_APART,
    HOARD,
    PAID_APART,
    SPIN,
    STORE,
    Drawing,
    draw,
)
from tests.support.gates import Gate
from tests.support.hosting import final, outcomes
from tests.support.ledger import unsound_accounts
from tests.support.switches import environment_of
from tests.support.world import ANN, save, start

LONG = timedelta(minutes=1)
OVER = timedelta(seconds=-1)


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


@pytest.fixture
async def host(driver: Driver, settings: Settings) -> AsyncIterator[NodeHost]:
    """Nothing takes jobs from the queue here: each is found as one whose ticket got lost."""
    async with NodeHost(replace(settings, node_memory_mb=128)) as one:
        yield one


def failing(block: str, **constants: Any) -> Drawing:
    return draw({"x": (block, constants), "s": (STORE, {}), "e": (STORE, {})}, "x.out -> s.input", "x.error -> e.input")


def counting(block: str = BLOCK, **constants: Any) -> Drawing:
    return draw(
        {"b": (block, {"count": 3, **constants}), "s": (STORE, {}), "e": (STORE, {})},
        "b.n -> s.input",
        "b.error -> e.input",
    )


async def taken_up(driver: Driver, drawing: Drawing) -> tuple[RunMeta, Any]:
    graph = await save(drawing)
    run = await start(graph)
    await driver.accept(run.id)  # unless its sweep was quicker
    return run, graph


async def job_of(run: RunMeta, claimed: bool = False) -> None:
    async def is_there() -> bool:
        return (run.id, 1) in await jobs(claimed)

    await until(is_there)


async def jobs(claimed: bool) -> list[tuple[str, int]]:
    rows = await database().fetch(
        "SELECT run_id, activation FROM node_jobs WHERE NOT done AND (lease_until IS NOT NULL) = $1", claimed
    )
    return [(row["run_id"], row["activation"]) for row in rows]


def said(text: str, block: str, block_id: str) -> str:
    return f"raised by {block} with message: {text}. block_id: {block_id}"


THREE = {"b": [("COMPLETED", {"n": [0, 1, 2]})], "s": [("COMPLETED", {"output": [n]}) for n in range(3)]}


async def test_outputs_come_back_in_order_and_are_routed(driver: Driver, host: NodeHost) -> None:
    run, graph = await taken_up(driver, counting())
    assert outcomes(await final(run), graph) == THREE


@pytest.mark.parametrize(
    ("block", "name", "text"),
    [
        (CRASH, "CrashingBlock", "the block's process was killed by signal 11"),
        (HOARD, "HoardingBlock", "the block took more than the 128 MB of memory that it may take"),
    ],
)
async def test_a_broken_block_fails_its_node_and_nothing_else(
    driver: Driver, host: NodeHost, block: str, name: str, text: str
) -> None:
    other, other_graph = await taken_up(driver, counting(delay=0.3))
    run, graph = await taken_up(driver, failing(block, v=1))
    seen = await final(run)
    assert seen["status"] == "COMPLETED"
    found = outcomes(seen, graph)
    assert found["x"][0][0] == "FAILED"
    assert found["e"] == [("COMPLETED", {"output": [said(text, name, block)]})]
    assert found.get("s", []) == ([("COMPLETED", {"output": [1]})] if block == CRASH else [])
    assert outcomes(await final(other), other_graph) == THREE


async def test_a_node_that_spins_meets_its_own_limit(driver: Driver, host: NodeHost) -> None:
    run, graph = await taken_up(driver, with_metadata(failing(SPIN, v=1), "x", timeout=0.5))
    found = outcomes(await final(run), graph)
    assert found["e"] == [("COMPLETED", {"output": [said("timed out after 0.5 seconds", "SpinningBlock", SPIN)]})]


async def test_failed_attempts_are_followed_by_others(driver: Driver, host: NodeHost, tmp_path: Path) -> None:
    drawing = draw({"f": (FLAKY_APART, {"path": str(tmp_path / "log"), "failures": 2})})
    run, graph = await taken_up(driver, with_metadata(drawing, "f", retry={"attempts": 3, "delay": 0.01}))
    assert outcomes(await final(run), graph)["f"] == [("COMPLETED", {"n": [1, 2]})]
    assert [error.split(": ")[1].split(".")[0] for error in await retries_of(run)] == [
        "attempt 1 failed",
        "attempt 2 failed",
    ]
    assert len(set((tmp_path / "log").read_text().splitlines())) == 1  # one idempotency key


async def test_a_stopped_run_ends_at_once_and_its_child_is_gone(driver: Driver, host: NodeHost, tmp_path: Path) -> None:
    run, graph = await taken_up(driver, failing(SPIN, path=str(tmp_path / "pid")))
    pid = await pid_in(tmp_path / "pid")
    await service.stop(ANN.id, run.graph_id, run.id)
    assert outcomes(await final(run), graph) == {"x": [("TERMINATED", {})]}
    await until(lambda: not alive(pid))


async def test_a_run_that_waits_for_nothing_else_holds_no_place_meanwhile(
    driver: Driver, host: NodeHost, gate: Gate
) -> None:
    run, graph = await taken_up(driver, counting(gate=gate.path))

    async def let_go() -> bool:
        return run.id not in driver._hosted and bool(await jobs(claimed=True))

    await until(let_go)
    gate.open()
    assert outcomes(await final(run), graph) == THREE


async def test_credentials_and_charges(db: Database, redis: Redis) -> None:
    with environment_of(ENABLE_CREDIT="true", OPENAI_API_KEY="sk-platform"):
        reference = {"id": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "provider": "openai", "type": "api_key"}
        async with Driver(get_settings()) as driver, NodeHost(get_settings()):
            graph = await save(draw({"p": (PAID_APART, {"v": 1, "credentials": reference})}))
            await credits.grant(ANN.id, 3, "gift", "gift")
            run = await start(graph)
            await driver.accept(run.id)
            seen = await final(run)
        assert outcomes(seen, graph)["p"][0][1]["key"] == ["sk-platform"]
        assert seen["stats"]["cost"] == 1
        bodies = await db.fetch("SELECT body FROM journal")
        assert bodies
        assert await credits.balance(ANN.id) == 2
        assert await unsound_accounts(db) == []


# What gets lost, and who notices


async def test_a_job_is_put_again_when_its_run_is_replayed(driver: Driver, host: NodeHost) -> None:
    """The worker died between the commit of the start and putting the job."""
    graph = await save(counting())
    run = await start(graph)
    await DeadWorker(run).left(RunBegan(now_us()), NodeStarted(1, now_us()))
    await driver.accept(run.id)  # unless its sweep was quicker
    assert outcomes(await final(run), graph) == THREE


async def test_what_was_reported_before_the_run_came_back_is_taken_once(
    driver: Driver, settings: Settings, tmp_path: Path
) -> None:
    """The run's worker died, its node went on and ended: the next worker takes the letters and repeats nothing."""
    graph = await save(counting(path=str(tmp_path / "log")))
    run = await start(graph)
    async with Driver(settings) as first:
        await first.accept(run.id)
        await job_of(run)
        first._hosted[run.id].lose()
        await until(lambda: not first._tasks)
    async with NodeHost(settings) as host:
        await host.execute(run.id, 1)
        assert outcomes(await final(run), graph) == THREE
        assert not await host.execute(run.id, 1)
    assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.mark.parametrize("block", [BLOCK, BLOCK_AGAIN])
async def test_a_job_whose_process_fell_silent(driver: Driver, settings: Settings, block: str, tmp_path: Path) -> None:
    run, graph = await taken_up(driver, counting(block, path=str(tmp_path / "log")))
    await job_of(run)
    dead = await nodejobs.claim(run.id, 1, LONG)
    assert dead is not None
    assert await nodejobs.report(dead, 0, NodeReported(1, 0, [("n", 0)])) == []
    await nodejobs.release(dead)
    async with NodeHost(settings):
        found = outcomes(await final(run), graph)
    if block == BLOCK_AGAIN:
        assert found == THREE
    else:
        text = said(INTERRUPTED, "BlockingBlock", BLOCK)
        assert found["b"] == [("FAILED", {"n": [0], "error": [text]})]
        assert found["e"] == [("COMPLETED", {"output": [text]})]
        assert not (tmp_path / "log").exists()
    assert await nodejobs.report(dead, 1, NodeReported(1, 0, [("n", 9)], True)) is None


async def test_a_job_whose_processes_die_again_and_again_is_given_up(driver: Driver, settings: Settings) -> None:
    run, graph = await taken_up(driver, counting(BLOCK_AGAIN))
    await job_of(run)
    for _ in range(nodejobs.MAX_CLAIMS):
        assert await nodejobs.claim(run.id, 1, OVER) is not None
    assert outcomes(await final(run), graph)["b"][0][0] == "FAILED"


async def test_a_job_is_claimed_when_a_process_is_ready_for_it(
    driver: Driver, settings: Settings, db: Database
) -> None:
    run, graph = await taken_up(driver, counting(BLOCK_AGAIN))
    await job_of(run)
    async with NodeHost(settings) as slow:
        pid = await until(lambda: [child.pid for child in slow._pool._children if child.pid])
        os.kill(pid[0], signal.SIGSTOP)
        assert await db.fetchval("SELECT claims FROM node_jobs") == 0
        async with NodeHost(settings):
            assert outcomes(await final(run), graph) == THREE


async def test_of_many_who_take_a_job_at_once_one_gets_it(driver: Driver) -> None:
    run, _ = await taken_up(driver, counting())
    await job_of(run)
    claims = await asyncio.gather(*(nodejobs.claim(run.id, 1, LONG) for _ in range(20)))
    assert sum(one is not None for one in claims) == 1


async def test_reports_of_old_claims_and_repeated_reports_deliver_nothing(driver: Driver) -> None:
    run, _ = await taken_up(driver, counting(BLOCK_AGAIN))
    await job_of(run)
    old = await nodejobs.claim(run.id, 1, OVER)
    new = await nodejobs.claim(run.id, 1, LONG)
    assert old is not None
    assert new is not None
    first = NodeReported(1, 0, [("n", 0), ("n", 1)])
    assert await nodejobs.report(old, 0, first) is None
    assert await nodejobs.report(new, 0, first) is not None
    assert await nodejobs.report(new, 0, first) is not None  # the same answer, and no second letter
    assert await nodejobs.report(new, 0, NodeReported(1, 0, [("n", 5)])) is None
    assert [letter for _, letter in await mail.read(run.id, 0)] == [first]
    last = NodeReported(1, 0, [], True)
    for _ in range(2):
        assert await nodejobs.report(new, 2, last) is not None
    assert [letter for _, letter in await mail.read(run.id, 0)] == [first, last]


async def test_a_letter_for_an_attempt_that_is_over_is_dropped(driver: Driver, host: NodeHost) -> None:
    graph = await save(with_metadata(counting(delay=0.3), "b", retry={"attempts": 2, "delay": 0.01}))
    run = await start(graph)
    await driver.accept(run.id)
    await job_of(run, claimed=True)
    await mail.deliver([Addressed(run.id, NodeReported(1, 1, [("n", 77)], True))])
    assert outcomes(await final(run), graph) == THREE


async def test_jobs_go_with_their_run(driver: Driver, host: NodeHost, db: Database) -> None:
    run, _ = await taken_up(driver, counting())
    await final(run)
    await until(lambda: db.fetchval("SELECT count(*) = 0 FROM node_jobs"))


async def pid_in(path: Path) -> int:
    def line() -> str:
        return path.read_text() if path.exists() else ""

    await until(lambda: line().endswith("\n"))
    return int(line().split()[0])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
