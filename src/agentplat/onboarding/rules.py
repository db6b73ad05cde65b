"""What users get for what they have done."""

from collections.abc import Sequence
from datetime import date, timedelta

from agentplat.onboarding.models import OnboardingStep

# In credits; steps that aren't here bring nothing.
REWARDS = {
    OnboardingStep.VISIT_COPILOT: 500,
    OnboardingStep.AGENT_NEW_RUN: 300,
    OnboardingStep.RUN_AGENTS: 300,
    OnboardingStep.RUN_14_DAYS: 300,
    OnboardingStep.RUN_AGENTS_100: 300,
    OnboardingStep.MARKETPLACE_VISIT: 100,
    OnboardingStep.MARKETPLACE_ADD_AGENT: 100,
    OnboardingStep.MARKETPLACE_RUN_AGENT: 100,
    OnboardingStep.BUILDER_SAVE_AGENT: 100,
    OnboardingStep.RE_RUN_AGENT: 100,
    OnboardingStep.SCHEDULE_AGENT: 100,
    OnboardingStep.RUN_3_DAYS: 100,
    OnboardingStep.TRIGGER_WEBHOOK: 100,
}

# By what clients say of where a run was started.
STARTED_FROM = {
    "library": OnboardingStep.MARKETPLACE_RUN_AGENT,
    "builder": OnboardingStep.BUILDER_RUN_AGENT,
}

_RUNS = {10: OnboardingStep.RUN_AGENTS, 100: OnboardingStep.RUN_AGENTS_100}
_DAYS = {3: OnboardingStep.RUN_3_DAYS, 14: OnboardingStep.RUN_14_DAYS}


def milestones(runs: int, longest_streak: int) -> list[OnboardingStep]:
    """The steps that so many runs, and so many days in a row with a run, complete."""
    return [step for most, step in _RUNS.items() if runs >= most] + [
        step for most, step in _DAYS.items() if longest_streak >= most
    ]


def streaks(last: date | None, days_in_a_row: int, new: Sequence[date]) -> tuple[int, int]:
    """How many days in a row there were runs, by the last day and at the most, after those of `new`, in order.

    The same day keeps the streak, the next one adds to it, a gap begins it anew.
    """
    longest = days_in_a_row
    for day in new:
        if last is not None and day <= last:
            continue
        days_in_a_row = days_in_a_row + 1 if last is not None and day - last == timedelta(days=1) else 1
        last, longest = day, max(longest, days_in_a_row)
    return days_in_a_row, longest
