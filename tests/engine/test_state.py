from itertools import product

import pytest

from agentplat.engine.state import SOURCES, IllegalTransition, Status, check_transition


@pytest.mark.parametrize(("current", "target"), list(product(Status, Status)))
def test_the_whole_table(current: Status, target: Status) -> None:
    if current in SOURCES[target]:
        check_transition(current, target)
    else:
        with pytest.raises(IllegalTransition, match=f"{current} -> {target}"):
            check_transition(current, target)


def test_nothing_leads_back_to_incomplete_and_nothing_out_of_completed() -> None:
    assert not SOURCES[Status.INCOMPLETE]
    assert not any(Status.COMPLETED in sources or Status.FAILED in sources for sources in SOURCES.values())
