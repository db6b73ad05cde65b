"""How far a user has come with the platform, and the credits that they get for it, once for each step.

Runs are counted when somebody looks: those accepted since the last look, each once, at no cost to starting a run. So is
whether there is a schedule.
"""

from collections.abc import Iterable
from datetime import timedelta
from zoneinfo import ZoneInfo

import msgspec

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.credits import service as credits
from agentplat.events import service as events
from agentplat.infra.clock import now
from agentplat.onboarding import queries, rules
from agentplat.onboarding.models import OnboardingStep, State, StoreAgentDetails, UserOnboarding, UserOnboardingUpdate
from agentplat.runs import service as runs
from agentplat.runs.models import Activity
from agentplat.schedules import service as schedules

# A run is seen in the database so much later than the time that it says it was accepted at.
SETTLING = timedelta(seconds=2)


async def get(user: User) -> UserOnboarding:
    state = await queries.get(user.id)
    done = await runs.activity(user.id, state.counted_until, now() - SETTLING)
    if done.last_at is not None:
        state = await _counted(user, state, done)
    if OnboardingStep.SCHEDULE_AGENT not in state.shown.completed_steps and await schedules.has_any(user):
        state = await _complete(user, state, [OnboardingStep.SCHEDULE_AGENT])
    return state.shown


async def complete(user: User, step: OnboardingStep) -> UserOnboarding:
    return (await _complete(user, await queries.get(user.id), [step])).shown


async def change(user: User, wanted: UserOnboardingUpdate) -> UserOnboarding:
    given = {column: value for column, value in msgspec.structs.asdict(wanted).items() if value is not None}
    if given.get("wallet_shown") is False:
        del given["wallet_shown"]
    if "notified" in given:
        given["notified"] = list(dict.fromkeys(given["notified"]))
    if "agent_input" in given:
        given["agent_input"] = msgspec.json.encode(given["agent_input"])
    return (await queries.change(user.id, given) if given else await queries.get(user.id)).shown


async def reset(user: User) -> UserOnboarding:
    """Begin anew. No step is rewarded twice."""
    return (await queries.reset(user.id)).shown


def recommended() -> list[StoreAgentDetails]:
    """Marketplace agents to begin with, two or fewer. There is no marketplace yet, so there are none."""
    return []


def enabled() -> bool:
    """Whether clients should lead new users through the steps, which only makes sense with a choice of agents."""
    return len(recommended()) == 2


async def _counted(user: User, state: State, done: Activity) -> State:
    assert done.last_at is not None
    zone = await _zone(user)
    before = state.shown
    last = before.last_run_at.astimezone(zone).date() if before.last_run_at else None
    days = list(dict.fromkeys(quarter.astimezone(zone).date() for quarter in done.quarters))
    days_in_a_row, longest = rules.streaks(last, before.consecutive_run_days, days)
    counted = await queries.count(state, done.runs, done.last_at, days_in_a_row, done.last_at)
    if counted is None:
        return await queries.get(user.id)
    steps = rules.milestones(counted.shown.agent_runs, longest)
    if done.repeated:
        steps.append(OnboardingStep.RE_RUN_AGENT)
    state = await _complete(user, counted, steps)
    if state is counted:  # no step was completed, which would have been told
        await events.notify(user.id, {"type": "onboarding", "event": "increment_runs", "step": None})
    return state


async def _complete(user: User, state: State, steps: Iterable[OnboardingStep]) -> State:
    """The credits come first: their key makes them come once, also if this process ends before the step is noted."""
    new = [step for step in steps if step not in state.shown.completed_steps]
    if not new:
        return state
    rewarded = [step for step in new if step in rules.REWARDS] if credits.enabled() else []
    for step in rewarded:
        await credits.reward(user.id, step, rules.REWARDS[step])
    state = await queries.add_steps(user.id, new, rewarded)
    for step in new:
        await events.notify(user.id, {"type": "onboarding", "event": "step_completed", "step": step})
    return state


async def _zone(user: User) -> ZoneInfo:
    known = (await accounts.timezone(user)).timezone
    return ZoneInfo("UTC" if known == "not-set" else known)
