"""The client against the real platform."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest

from agentplat.cli.supervisor import Platform
from agentplat.client import (
    AsyncClient,
    Client,
    ConnectionLost,
    Event,
    GaveUp,
    NewRun,
    NodeEvent,
    Refused,
    Run,
    RunEvent,
    Snapshot,
)
from tests.cli.test_metrics import value
from tests.support.client import User
from tests.support.conditions import PATIENCE_SECONDS, until
from tests.support.drawing import NEG, SLOW, SPILL, STORE, draw
from tests.support.processes import answers, eventually, free_port

CHAIN = draw({"a": (STORE, {"input": 1}), "b": (STORE, {})}, "a.output -> b.input")
STREAM = draw({"p": (SPILL, {"count": 30, "delay": 0.05}), "b": (STORE, {})}, "p.n -> b.input")
ENDLESS = draw({"s": (SLOW, {"v": 1, "delay": 60})})


@pytest.fixture
async def user(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    eventually(lambda: answers(base_url))  # the test before may have killed the server
    async with User(base_url, make_token(f"client-{uuid4()}")) as one:
        yield one


@pytest.fixture
async def client(user: User) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(user.url, user.token) as one:
        yield one


async def subscribed(user: User, count: int) -> None:
    """Until the server has so many subscriptions: those of this test, for nobody else watches meanwhile."""

    async def are_so_many() -> bool:
        return value((await user.http.get("/metrics")).text, "agentplat_subscriptions") == count

    await until(are_so_many)


def numbers(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


async def test_start_wait_and_get(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(CHAIN)
    run = await client.start(graph["id"], {})
    done = await client.wait(run, timeout=30)
    assert (done.id, done.status, done.final) == (run.id, "COMPLETED", True)
    assert done.stats is not None
    assert done.stats.node_exec_count == 2
    assert [one.status for one in done.node_executions] == ["COMPLETED"] * 2
    assert await client.get(run.id) == await client.get(run) == done


async def test_a_key_stands_for_one_run(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(CHAIN)
    key = str(uuid4())
    first = await client.start(graph["id"], idempotency_key=key)
    assert (await client.start(graph["id"], idempotency_key=key)).id == first.id
    assert (await client.start(graph["id"])).id != first.id


async def test_stop(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(ENDLESS)
    run = await client.start(graph["id"])
    with pytest.raises(GaveUp, match=run.id):
        await client.wait(run, timeout=0.2)
    with pytest.raises(TimeoutError):
        await client.wait(run, timeout=0.2)
    assert (await client.stop(run.id)).status == "TERMINATED"
    assert (await client.stop(run)).status == "TERMINATED"


async def test_many_at_once(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(CHAIN)
    endless, _ = await user.create(ENDLESS)
    wanted = [NewRun(graph_id=graph["id"], inputs={"a": number}) for number in range(3)]
    keyed = NewRun(graph_id=endless["id"], idempotency_key=str(uuid4()))
    *started, again, unknown = await client.start_many([*wanted, keyed, keyed, NewRun(graph_id=str(uuid4()))])
    runs = [run for run in started if isinstance(run, Run)]
    assert [run.inputs for run in runs] == [{"a": 0}, {"a": 1}, {"a": 2}, {}]
    assert again == runs[3]
    assert isinstance(unknown, Refused)
    assert (unknown.status, unknown.code) == (404, "not_found")
    for run in runs[:3]:
        await client.wait(run, 30)
    read = await client.get_many([*runs, str(uuid4())])
    assert [run.status for run in read[:3] if isinstance(run, Run)] == ["COMPLETED"] * 3
    assert isinstance(read[4], Refused)
    with Client(user.url, user.token) as blocking:
        stopped = await asyncio.to_thread(blocking.stop_many, [runs[3], runs[0].id])
        assert [run.status for run in stopped if isinstance(run, Run)] == ["TERMINATED", "COMPLETED"]
        assert await asyncio.to_thread(blocking.start_many, []) == []


async def test_every_event_with_its_number_until_the_final_one(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(STREAM)
    run = await client.start(graph["id"])
    events = [event async for event in client.watch(run.id)]
    assert numbers(events) == list(range(1, len(events) + 1))
    first, last = events[0], events[-1]
    assert isinstance(first, RunEvent)
    assert first.run.status == "QUEUED"
    assert last.final
    assert isinstance(last, RunEvent)
    assert last.run.status == "COMPLETED"
    assert sum(isinstance(event, NodeEvent) and event.node.status == "COMPLETED" for event in events) == 31
    # And the same once more, now that it is over.
    assert [event async for event in client.watch(run)] == events


async def test_watching_goes_on_from_any_number(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(CHAIN)
    run = await client.wait(await client.start(graph["id"]), 30)
    events = [event async for event in client.watch(run)]
    for number in range(len(events) + 1):
        assert [event async for event in client.watch(run, number)] == events[number:]
    with pytest.raises(Refused, match="last_event"):
        _ = [event async for event in client.watch(run, len(events) + 1)]


async def test_a_snapshot_and_what_follows(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(STREAM)
    run = await client.start(graph["id"])
    async with aclosing(client.watch(run)) as watched:
        async for event in watched:
            if event.seq == 20:
                break
    snapshot, *rest = [event async for event in client.watch(run, snapshot=True)]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.seq >= 20
    assert snapshot.nodes
    whole = [event async for event in client.watch(run)]
    assert rest == whole[snapshot.seq :]
    (over,) = [event async for event in client.watch(run, snapshot=True)]
    assert isinstance(over, Snapshot)
    assert (over.seq, over.final) == (whole[-1].seq, True)


async def test_only_the_events_of_some_nodes(user: User, client: AsyncClient) -> None:
    graph, names = await user.create(STREAM)
    wanted = next(node for node, name in names.items() if name == "p")
    run = await client.start(graph["id"])
    events = [event async for event in client.watch(run, nodes=[wanted])]
    assert {event.node.node_id for event in events if isinstance(event, NodeEvent)} == {wanted}
    assert events[-1].final
    assert numbers(events) == sorted(set(numbers(events)))
    assert not any(
        isinstance(event, NodeEvent) for event in [one async for one in client.watch(run, node_events=False)]
    )


async def test_all_runs_of_a_graph_and_of_the_user(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(CHAIN)
    await subscribed(user, 0)  # nor anybody of the tests before

    async def until_over(events: Any, count: int) -> list[RunEvent]:
        seen = []
        async with aclosing(events):
            async for event in events:
                seen.append(event)
                count -= event.final
                if not count:
                    break
        return seen

    both = [
        asyncio.create_task(until_over(events, 2)) for events in (client.watch_graph(graph["id"]), client.watch_user())
    ]
    await subscribed(user, 2)
    runs = {(await client.start(graph["id"])).id for _ in range(2)}
    for seen in await asyncio.wait_for(asyncio.gather(*both), PATIENCE_SECONDS):
        assert {event.run.id for event in seen} == runs
        for run in runs:
            alone = [event async for event in client.watch(run, node_events=False)]
            assert [event for event in seen if event.run.id == run] == alone
        again = await asyncio.wait_for(until_over(client.watch_user(dict.fromkeys(runs, 1)), 2), PATIENCE_SECONDS)
        assert {(event.run.id, event.seq) for event in again} == {
            (event.run.id, event.seq) for event in seen if event.seq > 1
        }


async def test_a_server_that_dies_is_not_noticed(user: User, client: AsyncClient, platform: Platform) -> None:
    """Its successor goes on with the next number."""
    graph, _ = await user.create(draw({"p": (SPILL, {"count": 60, "delay": 0.05}), "b": (STORE, {})}, "p.n -> b.input"))
    run = await client.start(graph["id"])
    server, killed = platform.child("server"), 0
    events = []
    async for event in client.watch(run):
        events.append(event)
        if event.seq == 20 or (killed == 1 and event.seq > 150):
            killed += 1
            await asyncio.to_thread(_killed, platform, server.pid)
    assert killed == 2
    assert numbers(events) == list(range(1, len(events) + 1))
    assert events[-1].final


async def test_runs_that_begin_and_end_meanwhile_are_not_missed(
    user: User, client: AsyncClient, platform: Platform
) -> None:
    """While the server of their watcher is away, whole runs are started elsewhere. None of their events is missing."""
    graph, _ = await user.create(CHAIN)
    await subscribed(user, 0)
    watched: dict[str, list[int]] = {}
    statuses: dict[str, str] = {}

    async def watching() -> None:
        async for event in client.watch_graph(graph["id"]):
            watched.setdefault(event.run.id, []).append(event.seq)
            statuses[event.run.id] = event.run.status

    task = asyncio.create_task(watching())
    await subscribed(user, 1)
    runs = []
    for _ in range(2):
        runs += [await client.start(graph["id"]) for _ in range(3)]
        await asyncio.to_thread(_killed, platform, platform.child("server").pid)
        runs += [await client.wait(await client.start(graph["id"]), 30) for _ in range(3)]
    await until(lambda: sum(status == "COMPLETED" for status in statuses.values()) >= len(runs))
    task.cancel()
    for run in runs:
        assert watched[run.id] == [event.seq async for event in client.watch(run, node_events=False)]


def _killed(platform: Platform, pid: int | None) -> None:
    assert pid
    server = platform.child("server")
    old = server.pid
    assert old
    os.kill(old, signal.SIGKILL)
    eventually(lambda: server.pid != old)


async def test_what_is_not_there_and_what_is_not_ours_look_alike(
    user: User, client: AsyncClient, make_token: Callable[..., str]
) -> None:
    graph, _ = await user.create(draw({"n": (NEG, {"x": 1})}))
    run = await client.wait(await client.start(graph["id"]), 30)
    async with AsyncClient(user.url, make_token("stranger")) as stranger:
        refusals = []
        for run_id in (run.id, str(uuid4()), "nonsense"):
            with pytest.raises(Refused) as caught:
                _ = [event async for event in stranger.watch(run_id)]
            refusals.append((caught.value.status, str(caught.value)))
            with pytest.raises(Refused) as caught:
                await stranger.get(run_id)
            assert caught.value.status == 404
        with pytest.raises(Refused):
            await stranger.start(graph["id"])
        with pytest.raises(Refused) as caught:
            await anext(stranger.watch_graph(graph["id"]))
        assert caught.value.status == 404
    assert refusals[0][0] == 404
    assert len(set(refusals)) == 1


async def test_errors_are_typed(user: User) -> None:
    async with AsyncClient(user.url, "nonsense") as nobody:
        for asking in (nobody.get(str(uuid4())), nobody.start(str(uuid4())), anext(nobody.watch_user())):
            with pytest.raises(Refused) as caught:
                await asking
            assert caught.value.status == 401
    where = f"http://127.0.0.1:{free_port()}"
    async with AsyncClient(where, "token", patience=0) as hasty, AsyncClient(where, "token", patience=0.3) as patient:
        for client, kind in ((hasty, ConnectionLost), (patient, GaveUp)):
            for asking in (
                client.start("graph", version=1),
                anext(client.watch("run")),
                anext(client.watch_graph("graph")),
            ):
                with pytest.raises(kind, match=where):
                    await asking


async def test_what_is_wrong_with_a_request_is_named(user: User, client: AsyncClient) -> None:
    graph, _ = await user.create(CHAIN)
    with pytest.raises(Refused) as caught:
        await client.start(graph["id"], version=1, idempotency_key="x" * 256)
    assert (caught.value.status, caught.value.code) == (422, "invalid")
    assert "Idempotency-Key" in caught.value.problems[0]


async def test_the_same_without_an_event_loop(user: User) -> None:
    graph, _ = await user.create(CHAIN)

    def session() -> list[Event]:
        with Client(user.url, user.token) as client:
            run = client.start(graph["id"])
            events = list(client.watch(run))
            assert client.wait(run, 10).status == client.get(run.id).status == client.stop(run).status == "COMPLETED"
            for _ in client.watch(run):
                break
            with pytest.raises(Refused):
                client.get(str(uuid4()))
            left_open = client.watch_user()
            del left_open
        return events

    events = await asyncio.to_thread(session)
    assert numbers(events) == list(range(1, len(events) + 1))
    assert events[-1].final
