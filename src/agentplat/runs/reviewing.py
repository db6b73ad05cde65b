"""Reviews as reviewers know them: what waits, and deciding it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from agentplat.infra.ids import is_id
from agentplat.infra.uow import unit_of_work
from agentplat.runs import control, mail, reviews
from agentplat.runs.errors import ReviewConflict, ReviewInvalid, ReviewNotFound, ReviewRefused, RunNotFound
from agentplat.runs.letters import Addressed, ReviewAnswered
from agentplat.runs.models import as_stored
from agentplat.runs.reviews import NUL, Decision, ReviewRow

MAX_DATA_LENGTH = 1_000_000
MAX_DATA_DEPTH = 10
# A run that goes on in other branches can be told as well; only a final one can't.
OPEN = ("REVIEW", "RUNNING", "QUEUED")

Json = dict[str, Any] | list[Any] | str | int | float | bool | None
ReviewStatus = Literal["WAITING", "APPROVED", "REJECTED"]

_encode = msgspec.json.Encoder().encode


class Review(Struct, frozen=True, kw_only=True):
    """The contract's PendingHumanReviewModel."""

    node_exec_id: str
    node_id: str
    user_id: str
    graph_exec_id: str
    graph_id: str
    graph_version: int
    payload: Json
    instructions: str | None
    editable: bool
    status: ReviewStatus
    review_message: str | None
    was_edited: bool | None
    processed: bool
    created_at: datetime
    updated_at: datetime | None
    reviewed_at: datetime | None


class ReviewItem(Struct, frozen=True, kw_only=True):
    """One decision. `reviewed_data` replaces what is approved; it is ignored with a rejection and with
    `auto_approve_future`."""

    node_exec_id: str
    approved: bool
    message: Annotated[str, Meta(max_length=2000)] | None = None
    reviewed_data: Json = None
    auto_approve_future: bool = False


class ReviewRequest(Struct, frozen=True, kw_only=True):
    reviews: list[ReviewItem]


class ReviewResponse(Struct, frozen=True, kw_only=True):
    approved_count: int
    rejected_count: int
    failed_count: int
    error: str | None = None


async def pending(user_id: str, page: int, size: int) -> list[Review]:
    """What waits for the user, newest first. Pages count from 1."""
    return [_shown(row) for row in await reviews.pending(user_id, (page - 1) * size, size)]


async def pending_of_run(user_id: str, run_id: str) -> list[Review]:
    """What waits in one run, oldest first."""
    if not is_id(run_id) or await reviews.status_of_run(user_id, run_id) is None:
        raise RunNotFound(run_id)
    return [_shown(row) for row in await reviews.pending_of_run(user_id, run_id)]


async def answer(user_id: str, items: Sequence[ReviewItem]) -> ReviewResponse:
    """Decide reviews of one run. All are decided, or none.

    The rows are locked, so of reviewers who decide at once the second one sees the first one's decision. The letters to
    the run are part of the transaction.
    """
    _check(items)
    async with unit_of_work():
        rows = {row.node_exec_id: row for row in await reviews.lock(user_id, [item.node_exec_id for item in items])}
        if missing := [item.node_exec_id for item in items if item.node_exec_id not in rows]:
            raise ReviewNotFound(f"There is no review {missing[0]}")
        run_ids = {row.run_id for row in rows.values()}
        if len(run_ids) > 1:
            raise ReviewConflict("These reviews belong to different runs")
        run_id = run_ids.pop()
        status = await reviews.status_of_run(user_id, run_id)
        if status is None:
            raise RunNotFound(run_id)
        if status not in OPEN:
            raise ReviewConflict("The run does not wait for reviews any more")
        judged = [(rows[item.node_exec_id], item) for item in items]
        letters = await _record([(row, item) for row, item in judged if _is_open(row, item)])
        asleep = await mail.deliver(letters) if letters else []
        queued = await reviews.wake_run(run_id)
    await control.call_for_mail(letters, [run_id] if queued else asleep)
    approved = sum(item.approved for item in items)
    return ReviewResponse(approved_count=approved, rejected_count=len(items) - approved, failed_count=0)


def _is_open(row: ReviewRow, item: ReviewItem) -> bool:
    """Whether this has yet to be decided. Deciding again the same way changes nothing."""
    if row.status not in ("WAITING", "APPROVED" if item.approved else "REJECTED"):
        raise ReviewRefused(f"Review {row.node_exec_id} is {row.status} already")
    return row.status == "WAITING"


def _decision(row: ReviewRow, item: ReviewItem) -> Decision:
    message = (item.message or "").replace(NUL, "").strip() or None
    payload, reviewed = row.payload, msgspec.json.decode(row.payload)
    # What is rejected stays what was rejected, and what is approved for good what was approved.
    counts = item.approved and not item.auto_approve_future
    edited = counts and item.reviewed_data is not None and item.reviewed_data != reviewed
    if edited:
        if not row.editable:
            raise ReviewRefused(f"Review {row.node_exec_id} is not editable")
        if isinstance(reviewed, dict) and not isinstance(item.reviewed_data, dict):
            raise ReviewRefused(f"Review {row.node_exec_id}: reviewed_data has to be an object, as the original is")
        payload = _encode(item.reviewed_data)
    return Decision(
        node_exec_id=row.node_exec_id, approved=item.approved, payload=payload, message=message, edited=edited
    )


async def _record(judged: Sequence[tuple[ReviewRow, ReviewItem]]) -> list[Addressed]:
    """Record decisions, many in as many statements as one. The letters that tell of them."""
    if not judged:
        return []
    decisions = [_decision(row, item) for row, item in judged]
    await reviews.decide(decisions)
    if for_good := [row for row, item in judged if item.approved and item.auto_approve_future]:
        await reviews.approve_for_good(for_good)
    return [_letter(row, decision) for (row, _), decision in zip(judged, decisions, strict=True)]


def _letter(row: ReviewRow, decision: Decision) -> Addressed:
    assert row.activation is not None  # only reviews of activations can wait
    said = decision.message or f"Execution {'approved' if decision.approved else 'rejected'} by reviewer"
    data = msgspec.json.decode(decision.payload)
    return Addressed(row.run_id, ReviewAnswered(row.activation, decision.approved, data, decision.edited, said))


def _check(items: Sequence[ReviewItem]) -> None:
    if not items:
        raise ReviewInvalid.at("reviews", "At least one review is needed")
    ids = [item.node_exec_id for item in items]
    if len(set(ids)) < len(ids):
        raise ReviewInvalid.at("reviews", "A review is named twice")
    for item in items:
        if NUL in item.node_exec_id:
            raise ReviewNotFound
        if len(_encode(item.reviewed_data)) > MAX_DATA_LENGTH:
            raise ReviewInvalid.at("reviewed_data", f"More than {MAX_DATA_LENGTH} characters as JSON")
        if _depth(item.reviewed_data) > MAX_DATA_DEPTH:
            raise ReviewInvalid.at("reviewed_data", f"Nested more than {MAX_DATA_DEPTH} levels deep")


def _depth(value: Json) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, children), default=0) if isinstance(value, (dict, list)) else 0


def _shown(row: ReviewRow) -> Review:
    members = msgspec.structs.asdict(row)
    del members["activation"]
    run_id = members.pop("run_id")
    return Review(**members | {"graph_exec_id": run_id, "payload": as_stored(row.payload)})
