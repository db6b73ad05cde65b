"""How far users have come, in Postgres. The row is the lock: lists grow within the statement, so nothing gets lost."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import json

from agentplat.infra.db import db
from agentplat.onboarding.models import OnboardingStep, State, UserOnboarding

_SHOWN = (
    "user_id, completed_steps, wallet_shown, notified, rewarded_for, usage_reason, integrations, other_integrations, "
    "selected_store_listing_version_id, agent_input, onboarding_agent_execution_id, agent_runs, "
    "date_trunc('milliseconds', last_run_at) AS last_run_at, consecutive_run_days"
)
_STEPS = ("completed_steps", "notified", "rewarded_for")


async def get(user_id: str) -> State:
    row = await db().fetchrow(f"SELECT {_SHOWN}, counted_until FROM onboarding WHERE user_id = $1", user_id)
    return _state(row) if row else _fresh(user_id)


async def add_steps(user_id: str, completed: Sequence[str], rewarded: Sequence[str]) -> State:
    return await _write(user_id, {"completed_steps": list(completed), "rewarded_for": list(rewarded)})


async def change(user_id: str, values: Mapping[str, Any]) -> State:
    """Take the columns that are given. Steps are added to those that are there."""
    return await _write(user_id, values)


async def reset(user_id: str, moment: datetime) -> State:
    """Begin anew. What was rewarded stays rewarded; runs from before `moment` are not counted any more."""
    row = await db().fetchrow(
        f"""
        INSERT INTO onboarding AS o (user_id, counted_until) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET
            completed_steps = '{{}}', wallet_shown = false, notified = '{{}}', usage_reason = NULL,
            integrations = '{{}}', other_integrations = NULL, selected_store_listing_version_id = NULL,
            agent_input = NULL, onboarding_agent_execution_id = NULL, agent_runs = 0, last_run_at = NULL,
            consecutive_run_days = 0, counted_until = EXCLUDED.counted_until
        RETURNING {_SHOWN}, counted_until
        """,
        user_id,
        moment,
    )
    return _state(row)


async def keep(state: State, grown: UserOnboarding, until: datetime) -> None:
    """Store what `state` has `grown` to by the runs up to `until`, unless somebody else has counted meanwhile."""
    await db().execute(
        """
        INSERT INTO onboarding AS o (user_id, agent_runs, last_run_at, consecutive_run_days, counted_until)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id) DO UPDATE SET agent_runs = EXCLUDED.agent_runs,
            last_run_at = EXCLUDED.last_run_at, consecutive_run_days = EXCLUDED.consecutive_run_days,
            counted_until = EXCLUDED.counted_until
        WHERE o.counted_until = $6
        """,
        state.shown.user_id,
        grown.agent_runs,
        grown.last_run_at,
        grown.consecutive_run_days,
        until,
        state.counted_until,
    )


async def _write(user_id: str, values: Mapping[str, Any]) -> State:
    columns = list(values)
    places = [f"${number}" for number in range(2, len(columns) + 2)]
    changes = [_added(column) if column in _STEPS else f"{column} = EXCLUDED.{column}" for column in columns]
    row = await db().fetchrow(
        f"""
        INSERT INTO onboarding AS o ({", ".join(["user_id", *columns])}) VALUES ({", ".join(["$1", *places])})
        ON CONFLICT (user_id) DO UPDATE SET {", ".join(changes)}
        RETURNING {_SHOWN}, counted_until
        """,
        user_id,
        *values.values(),
    )
    return _state(row)


def _fresh(user_id: str) -> State:
    return State(
        shown=UserOnboarding(
            user_id=user_id,
            completed_steps=[],
            wallet_shown=False,
            notified=[],
            rewarded_for=[],
            usage_reason=None,
            integrations=[],
            other_integrations=None,
            selected_store_listing_version_id=None,
            agent_input=None,
            onboarding_agent_execution_id=None,
            agent_runs=0,
            last_run_at=None,
            consecutive_run_days=0,
        )
    )


def _added(column: str) -> str:
    new = f"ARRAY(SELECT s FROM unnest(EXCLUDED.{column}) s WHERE s <> ALL (o.{column}))"
    return f"{column} = o.{column} || {new}"


def _state(row: Any) -> State:
    members = dict(row)
    counted_until = members.pop("counted_until")
    members |= {column: [OnboardingStep(step) for step in members[column]] for column in _STEPS}
    if members["agent_input"] is not None:
        members["agent_input"] = json.decode(members["agent_input"])
    return State(shown=UserOnboarding(**members), counted_until=counted_until)
