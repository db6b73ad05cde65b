"""Events that are too large: they come, say what they lack, and the API has it."""

from typing import Any

import msgspec
import pytest

from agentplat.client import AsyncClient, NodeEvent, RunEvent
from agentplat.realtime.oversize import ERROR_TYPE, MAX_EVENT, MAX_MEMBER, STEPS, fitted
from tests.realtime.test_resuming import everything
from tests.realtime.test_streams import as_streamed, read
from tests.support.client import User
from tests.support.drawing import OUTPUT, SLOW, draw

TEXT = "x" * (MAX_MEMBER * 2 // 3)
TWICE = draw(
    {"s": (SLOW, {"v": TEXT}), "t": (SLOW, {}), "o": (OUTPUT, {"name": "said"})},
    "s.out -> t.v",
    "s.out -> o.value",
    "t.out -> o.value",
)
MANY_NAMES = {f"name {number}": number for number in range(100_000)}


def event(**members: Any) -> bytes:
    return msgspec.json.encode({"event_type": "graph_execution_update", "id": "r", "status": "COMPLETED", **members})


def sent(data: bytes) -> dict[str, Any]:
    """As it is sent, which must be within the limit and the same each time."""
    shown = fitted(data)
    assert len(shown) <= MAX_EVENT
    assert fitted(data) == shown
    decoded: dict[str, Any] = msgspec.json.decode(shown)
    return decoded


def test_what_is_within_the_limit_stays_as_it_is() -> None:
    room = MAX_MEMBER - len(event(inputs={"a": ""}))
    largest = event(inputs={"a": "x" * room})
    assert len(largest) == MAX_MEMBER
    assert fitted(largest) is largest
    # Two members of which neither is above its share.
    both = event(inputs={"a": "x" * room}, outputs={"b": ["y" * room]})
    assert fitted(both) is both


@pytest.mark.parametrize("size", [MAX_MEMBER, 3 * MAX_MEMBER])
def test_a_text_loses_its_middle_and_says_how_much(size: int) -> None:
    text = "a" * (size // 2) + "b" * (size // 2)
    seen = sent(event(inputs={"keeps": "its name", "long": text}, outputs={"o": [1]}))
    assert seen["truncated"] == ["inputs"]
    assert (seen["event_type"], seen["outputs"]) == ("graph_execution_update", {"o": [1]})
    head, marker, tail = seen["inputs"]["long"].split("…")
    assert marker == f" ({len(text) - len(head) - len(tail)} characters removed) "
    assert set(head) == {"a"}
    assert set(tail) == {"b"}
    assert len(head) == len(tail) == STEPS[0][0] // 2
    assert seen["inputs"]["keeps"] == "its name"


def test_a_list_loses_its_middle_and_says_how_much() -> None:
    items = list(range(2_000_000))
    (kept,) = sent(event(outputs={"o": [items]}))["outputs"]["o"]
    at = next(place for place, item in enumerate(kept) if isinstance(item, str))
    assert kept[at] == f"… ({len(items) - len(kept) + 1} items removed) …"
    assert kept[:at] == items[:at]
    assert kept[at + 1 :] == items[-at:]


def test_many_texts_that_are_long_together_are_cut_as_little_as_is_enough() -> None:
    seen = sent(event(input_data={"texts": ["x" * 3_000_000] * 7}))
    assert seen["truncated"] == ["input_data"]
    assert [len(text) > 1_000_000 for text in seen["input_data"]["texts"]] == [True] * 7


def test_what_can_not_be_cut_leaves_the_status_and_the_reason() -> None:
    data = event(
        inputs={"a": 1}, outputs={"o": [MANY_NAMES] * 15}, nodes_input_masks={"n": {"x": "y"}}, stats={"cost": 5}
    )
    assert sent(data) == {
        "event_type": ERROR_TYPE,
        "id": "r",
        "status": "COMPLETED",
        "stats": {"cost": 5},
        "inputs": {},
        "outputs": {},
        "nodes_input_masks": None,
        "error": f"Of this event's {len(data):,} bytes no more than {MAX_EVENT:,} are sent: ask the API for the run",
        "original_size_bytes": len(data),
        "max_size_bytes": MAX_EVENT,
        "truncated": ["inputs", "outputs", "nodes_input_masks"],
    }


async def test_a_large_run_on_the_socket_over_http_and_in_the_client(user: User) -> None:
    """Two outputs that are too large together: each event comes, and the API has what was cut."""
    graph, _ = await user.create(TWICE)
    run = await user.start(graph)
    whole = await user.finished(run)
    assert whole["outputs"] == {"said": [TEXT, TEXT]}
    every = await everything(user, run["id"])
    assert [one["seq"] for one in every] == list(range(1, len(every) + 1))
    last = every[-1]["data"]
    assert (last["status"], last["truncated"]) == ("COMPLETED", ["outputs"])
    assert [text[:10] + text[-10:] for text in last["outputs"]["said"]] == ["x" * 20] * 2
    assert all("characters removed" in text for text in last["outputs"]["said"])
    # Node events have one text each, which is within the limit: they are whole, and don't say otherwise.
    assert [one for one in every if "truncated" in one["data"] and "outputs" not in one["data"]["truncated"]] == []
    assert await read(user, f"/api/executions/{run['id']}/events") == as_streamed(every)
    async with AsyncClient(user.url, user.token) as client:
        events = [one async for one in client.watch(run["id"])]
    final = events[-1]
    assert isinstance(final, RunEvent)
    assert final.run.truncated == ["outputs"]
    assert not any(one.node.truncated for one in events if isinstance(one, NodeEvent))
