"""Many runs in one request: each item as if it were alone, and a fixed number of statements."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from agentplat.blocks.builtin.llm import AITextGeneratorBlock
from agentplat.infra import settings as settings_module
from agentplat.infra.clock import now
from agentplat.infra.db import Database
from agentplat.infra.settings import Settings
from agentplat.runs import queries
from agentplat.runs.models import MAX_BULK
from tests.support.api import NOBODYS_ID, Api, created
from tests.support.client import User
from tests.support.drawing import INPUT, OUTPUT, SLOW, draw
from tests.support.statements import said

ECHO = draw({"in": (INPUT, {"name": "said"}), "out": (OUTPUT, {"name": "heard"})}, "in.result -> out.value")
FOUND_FINAL = "SELECT id FROM runs WHERE id = ANY($1::text[]) AND status IN ('COMPLETED'"
BULK = "/api/executions/bulk"
ENDLESS = draw({"s": (SLOW, {"v": 1, "delay": 60})})


@pytest.fixture
async def graph(api: Api) -> dict[str, Any]:
    await queries.ensure_partition(now().date())  # as workers do
    return await created(api("ann"))


async def ask(client: httpx.AsyncClient, verb: str, **body: Any) -> list[dict[str, Any]]:
    answer = await client.post(f"/api/executions/bulk/{verb}", json=body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def outcomes(results: list[dict[str, Any]]) -> list[Any]:
    return [(one["status"], one["error"]["code"]) if one["error"] else one["status"] for one in results]


async def test_each_item_has_a_result_of_its_own(api: Api, db: Database, graph: dict[str, Any]) -> None:
    ann, bob = api("ann"), api("bob")
    foreign = await created(bob)
    started = (await ann.post(f"/api/graphs/{graph['id']}/execute/1", json={}, headers={"Idempotency-Key": "k"})).json()
    good = {"graph_id": graph["id"], "graph_version": 1}
    results = await ask(
        ann,
        "start",
        runs=[
            good | {"inputs": {"said": "one"}},
            {"graph_id": foreign["id"], "graph_version": 1},
            {"graph_id": NOBODYS_ID},
            {"graph_id": "x"},
            {"graph_id": graph["id"], "graph_version": 2},
            good | {"deadline_seconds": 10**9},
            good | {"idempotency_key": "k"},
            good | {"idempotency_key": "k", "inputs": {"said": "another"}},
            good | {"idempotency_key": "new"},
            good | {"idempotency_key": "new"},
            good | {"idempotency_key": "new", "inputs": {"said": "another"}},
            {"graph_id": graph["id"]},
        ],
    )
    assert outcomes(results) == [
        200,
        *[(404, "not_found")] * 4,
        (422, "deadline_invalid"),
        200,
        (409, "idempotency_key_reused"),
        200,
        200,
        (409, "idempotency_key_reused"),
        200,
    ]
    assert [one["replayed"] for one in results].count(True) == 2
    assert results[6]["run"]["id"] == started["id"]
    assert results[8]["run"] == results[9]["run"]
    assert results[0]["run"]["inputs"] == {"said": "one"}
    assert await db.fetchval("SELECT count(*) FROM runs") == 4
    # Not told apart from what isn't there, and refused in the same words as alone.
    texts = [str(one["error"]).replace(foreign["id"], "ID").replace(NOBODYS_ID, "ID") for one in results[1:3]]
    version = ", 'hint': 'Version 1 of it was asked for.'"
    assert texts[0].replace(version, "") == texts[1].replace(version, "")
    alone = (await ann.post(f"/api/graphs/{foreign['id']}/execute/1", json={})).json()
    assert results[1]["error"] | {"hint": None} == alone | {"hint": None}


async def test_a_request_with_keys_may_be_sent_again(api: Api, db: Database, graph: dict[str, Any]) -> None:
    runs = [{"graph_id": graph["id"], "idempotency_key": str(number)} for number in range(40)]
    answers = await asyncio.gather(
        *(ask(api("ann"), "start", runs=order) for order in (runs, runs[::-1], runs[20:] + runs[:20], runs))
    )
    assert await db.fetchval("SELECT count(*) FROM runs") == 40
    by_key = [
        {run["idempotency_key"]: result["run"]["id"] for run, result in zip(order, answer, strict=True)}
        for order, answer in zip((runs, runs[::-1], runs[20:] + runs[:20], runs), answers, strict=True)
    ]
    assert all(one == by_key[0] for one in by_key)
    assert sum(not one["replayed"] for answer in answers for one in answer) == 40


async def test_what_there_is_no_room_for_is_refused(
    api: Api, db: Database, settings: Settings, graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTPLAT_MAX_QUEUED_PER_USER", "5")
    settings_module.get_settings.cache_clear()
    try:
        ann = api("ann")
        await ask(ann, "start", runs=[{"graph_id": graph["id"]}] * 2)
        runs = [{"graph_id": graph["id"], "idempotency_key": f"k{number}"} for number in (1, 2, 3, 4, 4)]
        results = await ask(ann, "start", runs=runs)
        assert outcomes(results) == [200, 200, 200, (429, "too_many_waiting"), (429, "too_many_waiting")]
        assert await db.fetchval("SELECT count(*) FROM runs") == 5
        await db.execute("UPDATE runs SET status = 'COMPLETED'")
        # What was refused has left no key behind.
        assert [one["replayed"] for one in await ask(ann, "start", runs=runs)] == [True, True, True, False, True]
    finally:
        monkeypatch.undo()
        settings_module.get_settings.cache_clear()


async def test_others_runs_are_neither_read_nor_stopped(api: Api, db: Database, redis: Redis, graph: Any) -> None:
    run = (await ask(api("ann"), "start", runs=[{"graph_id": graph["id"]}]))[0]["run"]
    for verb in ("read", "stop"):
        results = await ask(api("bob"), verb, ids=[run["id"], NOBODYS_ID, "x", run["id"].upper()])
        assert outcomes(results) == [(404, "run_not_found")] * 4
    assert await db.fetchval("SELECT status || COALESCE(stop_requested_at::text, '') FROM runs") == "QUEUED"


async def test_many_that_wait_are_stopped_at_once(api: Api, db: Database, redis: Redis, graph: Any) -> None:
    ann = api("ann")
    runs = await ask(ann, "start", runs=[{"graph_id": graph["id"]}] * 50)
    ids = [one["run"]["id"] for one in runs]
    await ann.delete(f"/api/executions/{ids[0]}")
    results = await ask(ann, "stop", ids=[*ids, ids[1]])
    assert outcomes(results)[:2] == [(404, "run_not_found"), 200]
    assert {one["run"]["status"] for one in results[1:]} == {"TERMINATED"}
    # Once more changes nothing.
    assert await ask(ann, "stop", ids=[*ids, ids[1]]) == results
    journal = await db.fetchval("SELECT count(*) FROM journal")
    assert journal == 49


async def test_statements_don_t_depend_on_the_number(api: Api, db: Database, redis: Redis, graph: Any) -> None:
    ann = api("ann")
    await ask(ann, "start", runs=[{"graph_id": graph["id"]}])
    counts = []
    for number in (2, MAX_BULK):
        runs = [{"graph_id": graph["id"], "idempotency_key": f"{number}-{one}"} for one in range(number)]
        with said() as starting:
            ids = [one["run"]["id"] for one in await ask(ann, "start", runs=runs)]
        with said() as reading:
            await ask(ann, "read", ids=ids, outputs=True)
        with said() as stopping:
            await ask(ann, "stop", ids=ids)
        # What hears of ends asks once when it begins, in the background.
        asked = [[one for one in each if not one.startswith(FOUND_FINAL)] for each in (starting, reading, stopping)]
        counts.append([len(each) for each in asked])
    assert counts == [[4, 1, 6]] * 2


async def test_credentials_are_looked_up_for_all_items_together(api: Api, db: Database, redis: Redis) -> None:
    await queries.ensure_partition(now().date())
    ann = api("ann")
    node = {"block_id": AITextGeneratorBlock.id, "input_default": {"prompt": "hi", "model": "gpt-4o-mini"}}
    agent = await created(ann, nodes=[node], links=[])
    (group,) = agent["credentials_input_schema"]["properties"]
    keys = []
    for title in "abc":
        secret = {"type": "api_key", "title": title, "api_key": "s3cret"}
        stored = (await ann.post("/api/integrations/openai/credentials", json=secret)).json()
        keys.append({name: stored[name] for name in ("id", "provider", "type")})
    unknown = keys[0] | {"id": NOBODYS_ID}
    items = [{"graph_id": agent["id"], "credentials_inputs": {group: key}} for key in (*keys, unknown)]
    await ask(ann, "start", runs=items)  # the agent is known from now on
    counts = []
    for times in (1, 10):
        with said() as statements:
            results = await ask(ann, "start", runs=items * times)
        assert outcomes(results) == [200, 200, 200, (400, "validation_error")] * times
        assert "Unknown credentials" in str(results[3]["error"])
        counts.append(len(statements))
    assert counts == [3, 3]


async def test_where_runs_were_started_is_told_as_of_single_ones(api: Api, redis: Redis, graph: Any) -> None:
    ann = api("ann")
    refused, run = {"graph_id": NOBODYS_ID, "source": "builder"}, {"graph_id": graph["id"]}
    for sources, steps in (([], []), (["library", "onboarding", "library"], ["MARKETPLACE_RUN_AGENT"])):
        await ask(ann, "start", runs=[refused, run, *(run | {"source": source} for source in sources)])
        completed = (await ann.get("/api/onboarding")).json()["completedSteps"]
        assert [step for step in completed if step != "RE_RUN_AGENT"] == steps


async def test_stops_need_no_worker_to_have_been_there_today(
    api: Api, db: Database, redis: Redis, graph: dict[str, Any]
) -> None:
    ann = api("ann")
    (started,) = await ask(ann, "start", runs=[{"graph_id": graph["id"]}])
    await db.execute(f"DROP TABLE journal_{now():%Y%m%d}")
    (stopped,) = await ask(ann, "stop", ids=[started["run"]["id"]])
    assert stopped["run"]["status"] == "TERMINATED"


@pytest.mark.parametrize(
    ("verb", "body", "place"),
    [
        ("start", {"runs": []}, ["body", "runs"]),
        ("start", {"runs": [{"graph_id": "x"}] * (MAX_BULK + 1)}, ["body", "runs"]),
        ("start", {"runs": [{"graph_id": "x"}, {"graph_id": 1}]}, ["body", "runs", 1, "graph_id"]),
        ("start", {"runs": [{"graph_id": "x", "idempotency_key": ""}]}, ["body", "runs", 0, "idempotency_key"]),
        ("start", {"runs": [{"graph_id": "x", "idempotency_key": "k\n"}]}, ["body", "runs", 0, "idempotency_key"]),
        (
            "start",
            {"runs": [{"graph_id": "x"}, {"graph_id": "x", "preset_id": "\0"}]},
            ["body", "runs", 1, "preset_id"],
        ),
        ("read", {}, ["body", "ids"]),
        ("stop", {"ids": ["x"] * (MAX_BULK + 1)}, ["body", "ids"]),
    ],
)
async def test_the_number_is_bounded_and_mistakes_are_named(api: Api, verb: str, body: Any, place: list[Any]) -> None:
    refused = await api("ann").post(f"/api/executions/bulk/{verb}", json=body)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, place)


async def test_items_and_results_may_be_lines(api: Api, redis: Redis, graph: dict[str, Any]) -> None:
    ann, lines = api("ann"), {"Content-Type": "application/x-ndjson; charset=utf-8", "Accept": "application/x-ndjson"}
    item = json.dumps({"graph_id": graph["id"], "inputs": {"said": "é\n"}}, ensure_ascii=False)
    unknown = json.dumps({"graph_id": NOBODYS_ID})
    answer = await ann.post(f"{BULK}/start", content=f"{item}\r\n\n{unknown}\n{item}".encode(), headers=lines)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert outcomes(results) == [200, (404, "not_found"), 200]
    assert results[0]["run"]["inputs"] == {"said": "é\n"}
    ids = [results[0]["run"]["id"], results[2]["run"]["id"]]
    content = "\n".join(json.dumps(one) for one in ids)
    for verb in ("read", "stop"):
        answer = await ann.post(f"{BULK}/{verb}", content=content, headers=lines | {"Accept": "*/*"})
        assert [one["run"]["id"] for one in answer.json()["results"]] == ids
        # The names of media types are the same in capitals.
        answer = await ann.post(f"{BULK}/{verb}", content=content, headers=lines | {"Accept": "Application/X-NDJSON"})
        assert [json.loads(line)["run"]["id"] for line in answer.text.splitlines()] == ids


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('{"graph_id": "x"', ["body", "runs", 1]),
        ('{"graph_id": "x"},{"graph_id": "y"}', ["body", "runs", 1]),
        ('{"graph_id": "x"}], "more": [1', ["body", "runs", 1]),
        ('{"graph_id": 1}', ["body", "runs", 1, "graph_id"]),
    ],
)
async def test_a_bad_line_is_named(api: Api, line: str, place: list[Any]) -> None:
    content = f'{{"graph_id": "x"}}\n{line}\n{{"graph_id": "x"}}\n'
    headers = {"Content-Type": "application/x-ndjson"}
    refused = await api("ann").post(f"{BULK}/start", content=content, headers=headers)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, place)


async def test_from_start_to_outputs(base_url: str, make_token: Callable[..., str]) -> None:
    async with User(base_url, make_token(f"bulk-{uuid4()}")) as user:
        echo, _ = await user.create(ECHO)
        endless, _ = await user.create(ENDLESS)
        said = [str(number) for number in range(20)]
        runs = [{"graph_id": echo["id"], "inputs": {"said": text}} for text in said]
        results = await ask(user.http, "start", runs=[*runs, {"graph_id": endless["id"]}])
        ids = [one["run"]["id"] for one in results]
        for run_id in ids[:-1]:
            await user.finished({"graph_id": echo["id"], "id": run_id})
        read = await ask(user.http, "read", ids=ids, outputs=True)
        assert [one["run"].get("outputs") for one in read] == [*({"heard": [text]} for text in said), None]
        assert "outputs" not in (await ask(user.http, "read", ids=ids))[0]["run"]
        stopped = await ask(user.http, "stop", ids=ids)
        assert [one["run"]["status"] for one in stopped] == ["COMPLETED"] * 20 + ["TERMINATED"]
