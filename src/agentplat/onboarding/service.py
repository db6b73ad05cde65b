"""How far a user has come with the platform, and the credits that they get for it, once for each step.

Runs are counted when somebody looks: those accepted since the last look, each once, at no cost to starting a run. What
else the platform sees for itself it is told (`listen`).
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import msgspec

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.credits import service as credits
from agentplat.events import facts
from agentplat.events import service as events
from agentplat.graphs.events import GraphSaved
from agentplat.infra.clock import now
from agentplat.infra.ids import is_id
from agentplat.onboarding import queries, rules
from agentplat.onboarding.models import OnboardingStep, State, StoreAgentDetails, UserOnboarding, UserOnboardingUpdate
from agentplat.runs import service as runs
from agentplat.runs.events import RunRequested
from agentplat.runs.models import Activity
from agentplat.schedules.events import ScheduleMade

# A run is seen in the database so much later than the time that it says it was accepted at. Younger ones are counted
# anew by each look.
SETTLING = timedelta(seconds=2)


def listen() -> None:
    """Have this process complete the steps that others tell of. It may be called again."""
    facts.listen(GraphSaved, _graph_saved)
    facts.listen(RunRequested, _run_requested)
    facts.listen(ScheduleMade, _schedule_made)


async def get(user: User) -> UserOnboarding:
    state = await queries.get(user.id)
    steps = await _seen_results(state.shown)
    done = await runs.activity(user.id, state.counted_until, now())
    if done.last_at is None:
        return (await _complete(state, steps)).shown
    zone = await _zone(user)
    shown, reached = _grown(state.shown, done, zone)
    completed = await _complete(state, [*steps, *reached])
    settled = await runs.activity(user.id, state.counted_until, now() - SETTLING)
    if settled.last_at is not None:
        await queries.keep(state, _grown(state.shown, settled, zone)[0], settled.last_at)
        if completed is state:  # no step was completed, which would have been told
            await events.notify(user.id, {"type": "onboarding", "event": "increment_runs", "step": None})
    return msgspec.structs.replace(
        completed.shown,
        agent_runs=shown.agent_runs,
        last_run_at=shown.last_run_at,
        consecutive_run_days=shown.consecutive_run_days,
    )


async def complete(user_id: str, step: OnboardingStep) -> UserOnboarding:
    return (await _complete(await queries.get(user_id), [step])).shown


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
    return (await queries.reset(user.id, now())).shown


def recommended() -> list[StoreAgentDetails]:
    """Marketplace agents to begin with, two or fewer. There is no marketplace yet, so there are none."""
    return []


def enabled() -> bool:
    """Whether clients should lead new users through the steps, which only makes sense with a choice of agents."""
    return len(recommended()) == 2


# --- what is told


async def _graph_saved(fact: GraphSaved) -> None:
    if fact.source == "builder":
        await complete(fact.user_id, OnboardingStep.BUILDER_SAVE_AGENT)


async def _run_requested(fact: RunRequested) -> None:
    if step := rules.STARTED_FROM.get(fact.source):
        await complete(fact.user_id, step)


async def _schedule_made(fact: ScheduleMade) -> None:
    await complete(fact.user_id, OnboardingStep.SCHEDULE_AGENT)


# --- what is counted


def _grown(before: UserOnboarding, done: Activity, zone: ZoneInfo) -> tuple[UserOnboarding, list[OnboardingStep]]:
    """What it is after these runs, and the steps that they complete."""
    last = before.last_run_at.astimezone(zone).date() if before.last_run_at else None
    days = list(dict.fromkeys(quarter.astimezone(zone).date() for quarter in done.quarters))
    days_in_a_row, longest = rules.streaks(last, before.consecutive_run_days, days)
    after = msgspec.structs.replace(
        before,
        agent_runs=before.agent_runs + done.runs,
        last_run_at=done.last_at,
        consecutive_run_days=days_in_a_row,
    )
    again = [OnboardingStep.RE_RUN_AGENT] if done.repeated else []
    return after, rules.milestones(after.agent_runs, longest) + again


async def _seen_results(shown: UserOnboarding) -> Sequence[OnboardingStep]:
    """Whether there is something to see of the run that was chosen to begin with."""
    run_id = shown.onboarding_agent_execution_id
    if run_id is None or not is_id(run_id) or OnboardingStep.GET_RESULTS in shown.completed_steps:
        return []
    return [OnboardingStep.GET_RESULTS] if await runs.is_over(shown.user_id, run_id) else []


async def _complete(state: State, steps: Iterable[OnboardingStep]) -> State:
    """The credits come first: their key makes them come once, also if this process ends before the step is noted.

    Clients see a step as rewarded also while credits are switched off, when there is nothing to get.
    """
    user_id = state.shown.user_id
    new = [step for step in steps if step not in state.shown.completed_steps]
    if not new:
        return state
    rewarded = [step for step in new if step in rules.REWARDS and step not in state.shown.rewarded_for]
    for step in rewarded:
        await credits.reward(user_id, step, rules.REWARDS[step])
    state = await queries.add_steps(user_id, new, rewarded)
    await events.notify(user_id, *({"type": "onboarding", "event": "step_completed", "step": step} for step in new))
    return state


async def _zone(user: User) -> ZoneInfo:
    known = (await accounts.timezone(user)).timezone
    return ZoneInfo("UTC" if known == "not-set" else known)
