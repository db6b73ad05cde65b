"""Days in a row and what they bring."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agentplat.onboarding.models import OnboardingStep as Step
from agentplat.onboarding.rules import milestones, streaks

FIRST = date(2026, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def by_definition(numbers: set[int]) -> tuple[int, int]:
    """How many days up to the last one are all there, and the most for any day."""

    def up_to(number: int) -> int:
        length = 0
        while number - length in numbers:
            length += 1
        return length

    return up_to(max(numbers)), max(map(up_to, numbers))


@given(st.sets(st.integers(0, 40), min_size=1), st.data())
def test_streaks_counted_in_parts_are_those_of_the_whole(numbers: set[int], data: st.DataObject) -> None:
    days = sorted(numbers)
    cut = data.draw(st.integers(0, len(days)))
    current, longest = streaks(None, 0, [day(number) for number in days[:cut]])
    last = day(days[cut - 1]) if cut else None
    # The last day of the first part may come again, and another process may be a little late.
    again = days[max(0, cut - 1) :]
    current, further = streaks(last, current, [day(number) for number in again])
    assert (current, max(longest, further)) == by_definition(numbers)


def test_milestones_are_reached_at_their_number() -> None:
    assert milestones(9, 2) == []
    assert milestones(10, 3) == [Step.RUN_AGENTS, Step.RUN_3_DAYS]
    assert milestones(100, 14) == [Step.RUN_AGENTS, Step.RUN_AGENTS_100, Step.RUN_3_DAYS, Step.RUN_14_DAYS]
