"""Reviews: A27, edits, auto-approval, sensitive blocks, several reviewers at once, stops."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agentplat.engine.messages import NodeStarted, RunBegan
from agentplat.graphs import service as graphs
from agentplat.graphs.models import GraphModel, GraphSettingsPatch
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.errors import AppError
from agentplat.infra.settings import Settings
from agentplat.runs import queries, reviewing, reviews, service, turns
from agentplat.runs.driver import Driver
from agentplat.runs.models import RunMeta
from agentplat.runs.nodes import now_us
from agentplat.runs.replay import replay
from agentplat.runs.reviewing import Review, ReviewItem
from tests.runs.test_driver import DeadWorker
from tests.support.conditions import until
from tests.support.drawing import GATE, OUTPUT, PRINT, REVIEW, SLOW, STEP, STORE, Drawing, agent, draw
from tests.support.gates import Gate
from tests.support.hosting import final, look, outcomes, reaching
from tests.support.statements import said
from tests.support.world import ANN, save, start

A27 = draw(
    {
        "a": (STORE, {"input": "draft"}),
        "h": (REVIEW, {"name": "Draft"}),
        "ok": (STORE, {}),
        "rej": (STORE, {}),
        "other": (STORE, {"input": 9}),
    },
    "a.output -> h.data",
    "h.approved_data -> ok.input",
    "h.rejected_data -> rej.input",
)


@pytest.fixture
async def driver(db: Database, redis: Redis, settings: Settings) -> AsyncIterator[Driver]:
    async with Driver(settings) as one:
        yield one


async def in_review(driver: Driver, drawing: Drawing) -> tuple[GraphModel, RunMeta, list[dict[str, Any]]]:
    """A run that waits for a person, and what waits."""
    graph = await save(drawing)
    run = await start(graph)
    await driver.accept(run.id)
    await reaching(run, "REVIEW")
    return graph, run, await waiting(run)


async def waiting(run: RunMeta) -> list[dict[str, Any]]:
    return as_sent(await reviewing.pending_of_run(ANN.id, run.id))


def as_sent(found: list[Review]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(found))
    return sent


async def answer(review: dict[str, Any], approved: bool = True, **more: Any) -> reviewing.ReviewResponse:
    item = ReviewItem(node_exec_id=review["node_exec_id"], approved=approved, **more)
    return await reviewing.answer(ANN.id, [item])


async def finished(driver: Driver, run: RunMeta) -> dict[str, Any]:
    await driver.accept(run.id)
    return await final(run)


async def test_the_first_pass_parks_the_run(driver: Driver, db: Database) -> None:
    graph, run, (review,) = await in_review(driver, A27)
    assert (review["payload"], review["instructions"], review["status"]) == ("draft", "Draft", "WAITING")
    seen = await reaching(run, "REVIEW")
    assert seen["stats"]["node_exec_count"] == 3
    assert seen["ended_at"] is None
    assert outcomes(seen, graph)["h"] == [("REVIEW", {})]
    await until(lambda: run.id not in driver._hosted)
    assert await db.fetchval("SELECT lease_until IS NULL FROM runs WHERE id = $1", run.id)
    assert [one["node_exec_id"] for one in as_sent(await reviewing.pending(ANN.id, 1, 25))] == [review["node_exec_id"]]


@pytest.mark.parametrize(
    ("approved", "pin", "message"),
    [
        (True, "approved_data", "Execution approved by reviewer"),
        (False, "rejected_data", "Execution rejected by reviewer"),
    ],
)
async def test_the_answer_resumes_the_run(driver: Driver, approved: bool, pin: str, message: str) -> None:
    graph, run, (review,) = await in_review(driver, A27)
    response = await answer(review, approved)
    assert (response.approved_count, response.rejected_count) == (int(approved), int(not approved))
    seen = await finished(driver, run)
    assert seen["status"] == "COMPLETED"
    done = outcomes(seen, graph)
    assert done["h"] == [("COMPLETED", {pin: ["draft"], "review_message": [message]})]
    assert ("ok" in done, "rej" in done) == (approved, not approved)
    assert seen["stats"]["node_exec_count"] == 5
    assert await waiting(run) == []


async def test_edits_and_messages_reach_the_run(driver: Driver) -> None:
    graph, run, (review,) = await in_review(driver, A27)
    await answer(review, message="  better so  ", reviewed_data={"text": "final"})
    done = outcomes(await finished(driver, run), graph)
    assert done["h"] == [("COMPLETED", {"approved_data": [{"text": "final"}], "review_message": ["better so"]})]


@pytest.mark.parametrize("editable", [True, False])
async def test_a_rejection_changes_nothing_of_what_is_rejected(driver: Driver, editable: bool) -> None:
    drawing = draw(
        {"a": (STORE, {"input": "draft"}), "h": (REVIEW, {"name": "n", "editable": editable})}, "a.output -> h.data"
    )
    graph, run, (review,) = await in_review(driver, drawing)
    assert (await answer(review, approved=False, reviewed_data="better", message="no")).rejected_count == 1
    done = outcomes(await finished(driver, run), graph)
    assert done["h"] == [("COMPLETED", {"rejected_data": ["draft"], "review_message": ["no"]})]


async def test_what_is_not_editable_stays(driver: Driver) -> None:
    drawing = draw({"a": (STORE, {"input": 1}), "h": (REVIEW, {"name": "n", "editable": False})}, "a.output -> h.data")
    _, _, (review,) = await in_review(driver, drawing)
    with pytest.raises(AppError, match="not editable"):
        await answer(review, reviewed_data=2)
    assert (await answer(review, reviewed_data=1)).approved_count == 1


async def test_without_safe_mode_nobody_is_asked(driver: Driver) -> None:
    graph = await save(A27)
    await graphs.change_settings(ANN, graph.id, GraphSettingsPatch(human_in_the_loop_safe_mode=False))
    run = await start(graph)
    await driver.accept(run.id)
    done = outcomes(await final(run), graph)
    message = "Auto-approved (safe mode disabled)"
    assert done["h"] == [("COMPLETED", {"approved_data": ["draft"], "review_message": [message]})]


async def test_one_approval_may_stand_for_all_of_a_node(driver: Driver) -> None:
    """The second review of the node comes up after the first was approved for good, and asks nobody."""
    drawing = draw(
        {"a": (STORE, {"input": "x"}), "h": (REVIEW, {"name": "n"})}, "a.output -> h.data", "h.approved_data -> h.data"
    )
    graph = await save(drawing)
    run = await start(graph)
    await driver.accept(run.id)
    await reaching(run, "REVIEW")
    (review,) = await waiting(run)
    # The approved value goes round into the same node, which would ask for ever.
    await answer(review, auto_approve_future=True, reviewed_data="ignored")
    await driver.accept(run.id)

    async def gone_round() -> bool:
        return len(outcomes(await look(run), graph)["h"]) >= 5

    await until(gone_round)
    seen = await look(run)
    first, second, *_ = outcomes(seen, graph)["h"]
    assert first == ("COMPLETED", {"approved_data": ["x"], "review_message": ["Execution approved by reviewer"]})
    assert second[1]["review_message"] == ["Auto-approved (user approved all future actions for this node)"]
    await service.stop(ANN.id, graph.id, run.id)


@pytest.mark.parametrize("approved", [True, False])
async def test_sensitive_blocks_ask_before_they_act(driver: Driver, approved: bool) -> None:
    graph = await save(draw({"p": (PRINT, {"text": "secret"}), "s": (STORE, {})}, "p.output -> s.input"))
    await graphs.change_settings(ANN, graph.id, GraphSettingsPatch(sensitive_action_safe_mode=True))
    run = await start(graph)
    await driver.accept(run.id)
    await reaching(run, "REVIEW")
    (review,) = await waiting(run)
    assert review["payload"] == {"text": "secret"}
    await answer(review, approved, reviewed_data={"text": "harmless"} if approved else None)
    seen = await finished(driver, run)
    done = outcomes(seen, graph)
    if approved:
        assert done["p"] == [("COMPLETED", {"output": ["harmless"], "status": ["printed"]})]
        assert done["s"] == [("COMPLETED", {"output": ["harmless"]})]
    else:
        ((status, output),) = done["p"]
        assert status == "FAILED"
        assert "Block execution rejected by reviewer: Execution rejected by reviewer" in output["error"][0]


async def test_the_run_goes_on_with_the_last_answer(driver: Driver) -> None:
    drawing = draw(
        {"st": (STEP, {"items": [1, 2, 3]}), "h": (REVIEW, {"name": "n"}), "s": (STORE, {})},
        "st.item -> h.data",
        "h.approved_data -> s.input",
    )
    graph, run, three = await in_review(driver, drawing)
    by_payload = {review["payload"]: review for review in three}
    await answer(by_payload[3])
    await answer(by_payload[1])
    assert (await reaching(run, "REVIEW"))["status"] == "REVIEW"
    await answer(by_payload[2], approved=False)
    seen = await finished(driver, run)
    values = [output["output"] for _, output in outcomes(seen, graph)["s"]]
    assert sorted(values) == [[1], [3]]


async def test_of_reviewers_at_once_one_decides(driver: Driver, gate: Gate) -> None:
    """All of them while the run goes on with something else: one that is over would refuse them all."""
    lasting = draw({"g": (GATE, {"path": gate.path})})
    graph = await save(Drawing(A27.nodes + lasting.nodes, A27.links))
    run = await start(graph)
    await driver.accept(run.id)
    (review,) = await until(lambda: waiting(run))
    answers = await asyncio.gather(
        *(answer(review, approved=number % 2 == 0) for number in range(10)), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, AppError)]
    assert len(refused) == 5
    assert all("already" in str(one) for one in refused)
    gate.open()
    seen = await finished(driver, run)
    assert len(outcomes(seen, graph)["h"]) == 1


async def test_a_review_can_be_answered_while_other_branches_go_on(driver: Driver) -> None:
    drawing = draw(
        {
            "a": (STORE, {"input": 1}),
            "h": (REVIEW, {"name": "n"}),
            "s": (STORE, {}),
            "w": (SLOW, {"v": 1, "delay": 1.0}),
        },
        "a.output -> h.data",
        "h.approved_data -> s.input",
    )
    graph = await save(drawing)
    run = await start(graph)
    await driver.accept(run.id)
    found = await until(lambda: waiting(run))
    await answer(found[0])
    seen = await final(run)
    done = outcomes(seen, graph)
    assert done["s"] == [("COMPLETED", {"output": [1]})]
    assert done["w"] == [("COMPLETED", {"out": [1]})]


async def test_a_stop_rejects_what_waits(driver: Driver) -> None:
    graph, run, (review,) = await in_review(driver, A27)
    stopped = await service.stop(ANN.id, graph.id, run.id)
    assert stopped is not None
    assert stopped.status == "TERMINATED"
    assert await waiting(run) == []
    with pytest.raises(AppError, match="does not wait"):
        await answer(review)


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([], 422),
        ([ReviewItem(node_exec_id="x", approved=True)] * 2, 422),
        ([ReviewItem(node_exec_id="x", approved=True, reviewed_data="y" * 1_000_001)], 422),
        ([ReviewItem(node_exec_id="x", approved=True)], 404),
        ([ReviewItem(node_exec_id="x\0", approved=True)], 404),
    ],
)
async def test_bad_decisions_are_refused(db: Database, items: list[ReviewItem], status: int) -> None:
    with pytest.raises(AppError) as refused:
        await reviewing.answer(ANN.id, items)
    assert refused.value.status == status


async def test_nesting_is_limited(db: Database) -> None:
    deep: Any = 1
    for _ in range(11):
        deep = [deep]
    with pytest.raises(AppError) as refused:
        await reviewing.answer(ANN.id, [ReviewItem(node_exec_id="x", approved=True, reviewed_data=deep)])
    assert refused.value.status == 422


async def test_foreign_reviews_are_not_seen(driver: Driver) -> None:
    _, run, (review,) = await in_review(driver, A27)
    assert await reviewing.pending("bob", 1, 25) == []
    with pytest.raises(AppError) as refused:
        await reviewing.pending_of_run("bob", run.id)
    assert refused.value.status == 404
    with pytest.raises(AppError) as refused:
        await reviewing.answer("bob", [ReviewItem(node_exec_id=review["node_exec_id"], approved=True)])
    assert refused.value.status == 404


async def test_what_a_hidden_run_asks_is_hidden_as_well(driver: Driver) -> None:
    _, run, (review,) = await in_review(driver, A27)
    await service.delete(ANN.id, run.id)
    assert await reviewing.pending(ANN.id, 1, 25) == []
    for approved in (True, False):
        with pytest.raises(AppError) as refused:
            await answer(review, approved)
        assert (refused.value.status, refused.value.code) == (404, "review_not_found")


async def test_many_are_decided_in_as_many_statements_as_one(driver: Driver) -> None:
    counts = []
    for number in (1, 20):
        drawing = draw({"st": (STEP, {"items": [*range(number)]}), "h": (REVIEW, {"name": "n"})}, "st.item -> h.data")
        _, run, found = await in_review(driver, drawing)
        assert len(found) == number
        items = [ReviewItem(node_exec_id=one["node_exec_id"], approved=True, auto_approve_future=True) for one in found]
        with said() as statements:
            assert (await reviewing.answer(ANN.id, items)).approved_count == number
        counts.append(len(statements))
        assert (await finished(driver, run))["status"] == "COMPLETED"
    assert counts == [6, 6]


async def test_what_a_review_is_called_may_be_any_text(driver: Driver) -> None:
    _, _, (review,) = await in_review(driver, draw({"h": (REVIEW, {"name": "a\0b", "data": "c\0d"})}))
    assert (review["instructions"], review["payload"]) == ("ab", "c\0d")


async def test_nobody_is_waited_for_beyond_the_deadline(driver: Driver, db: Database) -> None:
    graph, run, _ = await in_review(driver, A27)
    await db.execute("UPDATE runs SET deadline = now() - interval '1 second' WHERE id = $1", run.id)
    seen = await final(run)  # the sweep finds it
    assert seen["status"] == "FAILED"
    assert "deadline" in seen["stats"]["error"]
    assert await waiting(run) == []
    assert outcomes(seen, graph)["h"] == [("FAILED", {})]


async def test_an_answer_that_is_faster_than_the_record_of_its_question(driver: Driver, db: Database) -> None:
    """The worker dies after it has asked and before that is recorded; the answer comes before the next worker."""
    graph = await save(
        draw({"h": (REVIEW, {"name": "n", "data": "draft"}), "s": (STORE, {})}, "h.approved_data -> s.input")
    )
    run = await start(graph)
    dead = DeadWorker(run)
    await dead.left(RunBegan(now_us()), NodeStarted(1, now_us()))
    row = await queries.find(run.id)
    assert row is not None
    machine, _ = await replay(row)
    await reviews.ask(row, machine.activations[0])
    (review,) = await waiting(run)
    assert (await answer(review)).approved_count == 1
    seen = await finished(driver, run)
    assert seen["status"] == "COMPLETED"
    assert outcomes(seen, graph)["s"] == [("COMPLETED", {"output": ["draft"]})]


async def test_an_answer_that_starts_something_keeps_the_run_awake(driver: Driver) -> None:
    """Two answers come together: after the first nothing but the second review is left, and the second starts a
    sub-run."""
    child = await save(draw({"o": (OUTPUT, {"name": "r", "value": 1})}))
    drawing = draw(
        {
            "st": (STEP, {"items": [1, 2]}),
            "h": (REVIEW, {"name": "n"}),
            "ae": agent(child.id, child.version, {}, "q", "r"),
            "s": (STORE, {}),
        },
        "st.item -> h.data",
        "h.approved_data -> ae.q",
        "ae.r -> s.input",
    )
    graph, run, (first, second) = await in_review(driver, drawing)
    await answer(first, approved=False)
    await answer(second)
    seen = await finished(driver, run)
    assert seen["status"] == "COMPLETED"
    assert outcomes(seen, graph)["s"] == [("COMPLETED", {"output": [1]})]


async def test_a_run_that_is_over_asks_nobody(driver: Driver, db: Database) -> None:
    """A worker that slept through the end of the run does the next thing that it was about to do."""
    graph = await save(draw({"h": (REVIEW, {"name": "n", "data": "draft"})}))
    run = await start(graph)
    row = await turns.claim(run.id, "sleeper", timedelta(seconds=-1), now())
    assert row is not None
    machine, _ = await replay(row)
    await service.stop(ANN.id, graph.id, run.id)
    await reviews.ask(row, machine.activations[0])
    assert await reviewing.pending(ANN.id, 1, 25) == []
    assert await db.fetchval("SELECT count(*) FROM mailboxes") == 0
