"""Reviews: what waits for a person, and what the person said.

A review is opened by the run's worker after the node's start is on record, under the node execution's id, so opening it
again after a crash finds it open. The answer and the letter that brings it to the run are one transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from agentplat.engine.activation import Activation
from agentplat.infra.clock import now
from agentplat.infra.db import db
from agentplat.runs import view
from agentplat.runs.models import RunRow

# The one character that Postgres has no place for in a text.
NUL = "\0"

_encode = msgspec.json.Encoder().encode
_COLUMNS = (
    "node_exec_id, user_id, run_id, activation, node_id, graph_id, graph_version, payload, instructions, editable, "
    "status, review_message, was_edited, processed, created_at, updated_at, reviewed_at"
)
_SHOWN = "EXISTS (SELECT FROM runs WHERE runs.id = reviews.run_id AND NOT runs.is_deleted)"


class ReviewRow(Struct, frozen=True, kw_only=True):
    """A review as stored; `payload` is JSON."""

    node_exec_id: str
    user_id: str
    run_id: str
    activation: int | None
    node_id: str
    graph_id: str
    graph_version: int
    payload: bytes
    instructions: str | None
    editable: bool
    status: Literal["WAITING", "APPROVED", "REJECTED"]
    review_message: str | None
    was_edited: bool | None
    processed: bool
    created_at: datetime
    updated_at: datetime | None
    reviewed_at: datetime | None


class Decision(Struct, frozen=True, kw_only=True):
    """What becomes of one review."""

    node_exec_id: str
    approved: bool
    payload: bytes
    message: str | None
    edited: bool


def auto_approval_key(run_id: str, node_id: str) -> str:
    return f"auto_approve_{run_id}_{node_id}"


async def ask(row: RunRow, act: Activation) -> None:
    """Open the review of an activation, unless it is open already or the run has gone on without whoever asks.

    The run's row is locked, so its end finds what was asked before, and nothing is asked after.
    """
    assert act.data is not None
    if act.node.is_review:
        payload, instructions = act.data.get("data"), str(act.data.get("name", "")).replace(NUL, "")
        editable = bool(act.data.get("editable", True))
    else:
        payload, instructions, editable = act.data, act.node.spec.name, True
    await db().execute(
        """
        WITH asking AS (
            SELECT id FROM runs WHERE id = $3 AND fence = $12 AND status = 'RUNNING' FOR SHARE
        ), box AS (
            INSERT INTO mailboxes (run_id) SELECT id FROM asking ON CONFLICT DO NOTHING
        )
        INSERT INTO reviews (node_exec_id, user_id, run_id, activation, node_id, graph_id, graph_version, payload,
                             instructions, editable, created_at)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM asking
        ON CONFLICT (node_exec_id) DO NOTHING
        """,
        view.activation_id(row.id, act.number),
        row.user_id,
        row.id,
        act.number,
        act.node.id,
        row.graph_id,
        row.graph_version,
        _encode(payload),
        instructions,
        editable,
        now(),
        row.fence,
    )


async def is_approved_for_good(run_id: str, node_id: str) -> bool:
    """Whether the user has approved all further executions of the node in this run."""
    return bool(
        await db().fetchval(
            "SELECT true FROM reviews WHERE node_exec_id = $1 AND status = 'APPROVED'",
            auto_approval_key(run_id, node_id),
        )
    )


async def pending(user_id: str, offset: int, limit: int) -> list[ReviewRow]:
    """What waits for the user, newest first."""
    rows = await db().fetch(
        f"SELECT {_COLUMNS} FROM reviews WHERE user_id = $1 AND status = 'WAITING' AND {_SHOWN} "
        "ORDER BY created_at DESC, node_exec_id OFFSET $2 LIMIT $3",
        user_id,
        offset,
        limit,
    )
    return [ReviewRow(**row) for row in rows]


async def pending_of_run(user_id: str, run_id: str) -> list[ReviewRow]:
    """What waits in one run, oldest first."""
    rows = await db().fetch(
        f"SELECT {_COLUMNS} FROM reviews WHERE user_id = $1 AND run_id = $2 AND status = 'WAITING' "
        "ORDER BY created_at, activation",
        user_id,
        run_id,
    )
    return [ReviewRow(**row) for row in rows]


async def status_of_run(user_id: str, run_id: str) -> str | None:
    found: str | None = await db().fetchval(
        "SELECT status FROM runs WHERE id = $1 AND user_id = $2 AND NOT is_deleted", run_id, user_id
    )
    return found


async def lock(user_id: str, node_exec_ids: Sequence[str]) -> list[ReviewRow]:
    """The user's reviews of these ids, kept from other reviewers until the transaction ends."""
    rows = await db().fetch(
        f"SELECT {_COLUMNS} FROM reviews WHERE user_id = $1 AND node_exec_id = ANY($2::text[]) AND {_SHOWN} "
        "ORDER BY node_exec_id FOR UPDATE",
        user_id,
        list(node_exec_ids),
    )
    return [ReviewRow(**row) for row in rows]


async def decide(decisions: Sequence[Decision]) -> None:
    await db().execute(
        """
        UPDATE reviews r SET status = CASE WHEN d.approved THEN 'APPROVED' ELSE 'REJECTED' END, payload = d.payload,
            review_message = d.message, was_edited = d.edited, processed = true, updated_at = $6, reviewed_at = $6
        FROM unnest($1::text[], $2::bool[], $3::bytea[], $4::text[], $5::bool[])
            AS d (node_exec_id, approved, payload, message, edited)
        WHERE r.node_exec_id = d.node_exec_id
        """,
        [one.node_exec_id for one in decisions],
        [one.approved for one in decisions],
        [one.payload for one in decisions],
        [one.message for one in decisions],
        [one.edited for one in decisions],
        now(),
    )


async def approve_for_good(approved: Sequence[ReviewRow]) -> None:
    """Remember that all further executions of these nodes in their run are approved."""
    await db().execute(
        """
        INSERT INTO reviews (node_exec_id, user_id, run_id, node_id, graph_id, graph_version, payload, editable,
                             status, processed, created_at, reviewed_at)
        SELECT given.key, r.user_id, r.run_id, r.node_id, r.graph_id, r.graph_version, r.payload, false,
            'APPROVED', true, $3, $3
        FROM unnest($1::text[], $2::text[]) AS given (key, node_exec_id)
        JOIN reviews r ON r.node_exec_id = given.node_exec_id
        ON CONFLICT (node_exec_id) DO NOTHING
        """,
        [auto_approval_key(one.run_id, one.node_id) for one in approved],
        [one.node_exec_id for one in approved],
        now(),
    )


async def wake_run(run_id: str) -> bool:
    """Queue a suspended run again, if nothing of it waits for a person any more."""
    return bool(
        await db().fetchval(
            """
            UPDATE runs SET status = 'QUEUED' WHERE id = $1 AND status = 'REVIEW'
                AND NOT EXISTS (SELECT FROM reviews WHERE run_id = $1 AND status = 'WAITING')
            RETURNING true
            """,
            run_id,
        )
    )
