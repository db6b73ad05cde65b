"""Who waits for a run hears of its end at once, and from the event alone."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from agentplat.embedded import EmbeddedServices
from agentplat.events import service as events
from agentplat.events.models import RunRecord
from agentplat.graphs.models import GraphModel
from agentplat.infra.db import Database
from agentplat.infra.inbound import ClientLeft, while_connected
from agentplat.infra.redis import connect
from agentplat.infra.settings import Settings
from agentplat.runs import service, waiting
from agentplat.runs.driver import Driver
from agentplat.runs.errors import RunNotFound
from agentplat.runs.models import RunMeta
from agentplat.runs.waiting import Waiting, hearing_ends
from tests.support.conditions import connections_at, cut_from_redis, until
from tests.support.drawing import SLOW, draw
from tests.support.switches import environment_of
from tests.support.world import ANN, BOB, save, start

PROBE = RunRecord(user_id="u", graph_id="g", run_id="probe", seq=1, body=b"[]", final=True)


@pytest.fixture
async def hearing(db: Database, redis: Redis) -> AsyncIterator[Waiting]:
    async with hearing_ends() as one:
        yield one


@pytest.fixture
async def graph(db: Database, redis: Redis) -> GraphModel:
    return await save(draw({"s": (SLOW, {"v": 7, "delay": 0.2})}))


async def ended(db: Database, run: RunMeta) -> None:
    """The run is over, but nobody has said so."""
    await db.execute(
        "UPDATE runs SET status = 'COMPLETED', ended_at = now(), outputs = '{\"o\":[7]}' WHERE id = $1", run.id
    )


async def told(run: RunMeta) -> None:
    record = RunRecord(user_id=ANN.id, graph_id=run.graph_id, run_id=run.id, seq=1, body=b"[]", final=True)
    assert await events.publish([record])


async def waiters(hearing: Waiting, count: int) -> None:
    await until(lambda: hearing.count == count)


async def followed(hearing: Waiting) -> None:
    """Until the streams are being read: what is published from now on is heard, and what was before is known."""
    with hearing.expecting(PROBE.run_id) as heard:

        async def is_heard() -> bool:
            await events.publish([PROBE])
            return heard.is_set()

        await until(is_heard)


async def test_a_waiter_gets_the_outcome(hearing: Waiting, graph: GraphModel, settings: Settings) -> None:
    run = await start(graph)
    async with Driver(settings) as driver:
        await driver.accept(run.id)
        seen = await service.get(ANN.id, graph.id, run.id, wait=20)
    assert seen.status == "COMPLETED"
    assert hearing.count == 0


async def test_a_run_that_is_over_is_not_waited_for(hearing: Waiting, graph: GraphModel, db: Database) -> None:
    run = await start(graph)
    await ended(db, run)
    async with asyncio.timeout(10):
        assert (await service.get(ANN.id, graph.id, run.id, wait=20)).status == "COMPLETED"


async def test_when_the_time_is_over_the_answer_is_the_state_there_is(hearing: Waiting, graph: GraphModel) -> None:
    run = await start(graph)
    started = time.perf_counter()
    assert (await service.outcome(run, 0.3)).status == "QUEUED"
    assert time.perf_counter() - started >= 0.3
    assert hearing.count == 0


async def test_foreign_and_unknown_runs_are_not_waited_for(hearing: Waiting, graph: GraphModel) -> None:
    run = await start(graph)
    for user, run_id in ((BOB, run.id), (ANN, "no id"), (ANN, graph.id)):
        with pytest.raises(RunNotFound):
            await asyncio.wait_for(service.get(user.id, graph.id, run_id, wait=20), 15)
    assert hearing.count == 0


async def test_the_event_wakes_and_nothing_else_does(hearing: Waiting, graph: GraphModel, db: Database) -> None:
    run = await start(graph)
    asking = asyncio.create_task(service.outcome(run, 20))
    await followed(hearing)
    await ended(db, run)
    # Nobody polls: without the event it goes unnoticed.
    assert not (await asyncio.wait({asking}, timeout=1))[0]
    await told(run)
    outcome = await asyncio.wait_for(asking, 15)
    assert (outcome.status, hearing.count) == ("COMPLETED", 0)


async def test_an_end_between_entering_and_following_is_not_missed(
    hearing: Waiting, graph: GraphModel, db: Database
) -> None:
    """The tail takes a while to begin; what was published by then it never sees, and asks for."""
    for _ in range(5):
        run = await start(graph)
        asking = asyncio.create_task(service.outcome(run, 20))
        await ended(db, run)
        await told(run)
        assert (await asyncio.wait_for(asking, 15)).status == "COMPLETED"


async def test_what_was_missed_during_an_interruption_is_looked_up_once(
    hearing: Waiting, graph: GraphModel, db: Database, redis: Redis
) -> None:
    over, going_on = await start(graph), await start(graph)
    asking = [asyncio.create_task(service.outcome(run, 20)) for run in (over, going_on)]
    await waiters(hearing, 2)
    await followed(hearing)
    await ended(db, over)
    assert await cut_from_redis(redis)
    assert (await asyncio.wait_for(asking[0], 10)).status == "COMPLETED"
    assert not asking[1].done()
    # The new connection goes on where the database was asked.
    await ended(db, going_on)
    await told(going_on)
    assert (await asyncio.wait_for(asking[1], 10)).status == "COMPLETED"


async def followed_at(url: str) -> None:
    """Until somebody reads the streams of that Redis."""
    client = connect(url)
    await until(lambda: connections_at(client, "xread"))
    await client.aclose()


async def test_a_redis_that_is_restarted_empty_loses_no_end(graph: GraphModel, db: Database, tmp_path: Path) -> None:
    """The run ends while there is no Redis at all, so nobody ever says so."""
    with EmbeddedServices(postgres=False) as own:
        url = own.start(tmp_path).redis_url
        assert url is not None
        with environment_of(REDIS_URL=url):
            async with hearing_ends() as hearing:
                run = await start(graph)
                asking = asyncio.create_task(service.outcome(run, 30))
                await waiters(hearing, 1)
                await followed_at(url)
                (pid,) = own.pids().values()
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await ended(db, run)
                assert not (await asyncio.wait({asking}, timeout=0.5))[0]
                await until(own.revive)
                assert (await asyncio.wait_for(asking, 25)).status == "COMPLETED"


async def test_two_hundred_waiters_at_once(hearing: Waiting, graph: GraphModel, db: Database) -> None:
    runs = [await start(graph) for _ in range(50)]
    asking = [asyncio.create_task(service.outcome(run, 30)) for run in runs for _ in range(4)]
    await waiters(hearing, 200)
    await followed(hearing)
    for run in runs:
        await ended(db, run)
    await asyncio.gather(*(told(run) for run in runs))
    outcomes = await asyncio.wait_for(asyncio.gather(*asking), 10)
    assert {outcome.status for outcome in outcomes} == {"COMPLETED"}
    assert hearing.count == 0


async def test_a_waiter_that_is_given_up_leaves_nothing_behind(hearing: Waiting, graph: GraphModel) -> None:
    run = await start(graph)
    asking = [asyncio.create_task(service.outcome(run, 20)) for _ in range(3)]
    await waiters(hearing, 3)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert hearing.count == 0


async def test_the_tail_lasts_as_long_as_it_is_needed(
    hearing: Waiting, graph: GraphModel, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LINGER_SECONDS", 0)
    assert hearing._task is None

    async def is_over() -> bool:
        await events.publish([PROBE])
        return hearing._task is not None and hearing._task.done()

    for _ in range(2):
        run = await start(graph)
        asking = asyncio.create_task(service.outcome(run, 20))
        await waiters(hearing, 1)
        await ended(db, run)
        await told(run)
        assert (await asyncio.wait_for(asking, 15)).status == "COMPLETED"
        await until(is_over)
        assert hearing._task.exception() is None


async def test_when_the_process_ends_everybody_is_let_go(graph: GraphModel) -> None:
    async with hearing_ends() as hearing:
        run = await start(graph)
        asking = asyncio.create_task(service.outcome(run, 20))
        await waiters(hearing, 1)
    assert (await asyncio.wait_for(asking, 15)).status == "QUEUED"


class Connection:
    """As much of a request as is needed to leave."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive = self.messages.get


async def test_when_the_client_leaves_nobody_waits_for_it(hearing: Waiting, graph: GraphModel) -> None:
    run = await start(graph)
    connection = Connection()
    asking = asyncio.create_task(while_connected(connection, service.outcome(run, 20)))  # type: ignore[arg-type]
    await waiters(hearing, 1)
    connection.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    await asyncio.sleep(0)
    assert not asking.done()
    connection.messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises(ClientLeft):
        await asyncio.wait_for(asking, 15)
    assert hearing.count == 0


async def test_work_that_ends_or_fails_does_so_for_who_stays(db: Database) -> None:
    async def fail() -> None:
        raise RunNotFound("x")

    before = len(asyncio.all_tasks())
    assert await while_connected(Connection(), asyncio.sleep(0, "done")) == "done"  # type: ignore[arg-type]
    with pytest.raises(RunNotFound):
        await while_connected(Connection(), fail())  # type: ignore[arg-type]
    assert len(asyncio.all_tasks()) == before
