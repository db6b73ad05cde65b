"""Thousands of schedules of workers that die, sleep and come too late; and proof that a broken rule would be seen."""

import pytest

from tests.simulation.database import Rules
from tests.simulation.invariants import violations
from tests.simulation.world import World

SCHEDULES, CHUNKS = 10_000, 20
# How many schedules a broken rule may stay unnoticed.
PATIENCE = 5_000


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_schedule_breaks_a_promise(chunk: int) -> None:
    each = SCHEDULES // CHUNKS
    for seed in range(chunk * each, (chunk + 1) * each):
        world = World(seed)
        world.run()
        assert not (found := violations(world)), f"{found[:3]}\nreplay it with: python -m tests.simulation {seed}"


@pytest.mark.parametrize(
    ("broken", "noticed"),
    [
        (Rules(fence_is_checked=False), "older holder|can't be replayed|should follow|not recorded|says"),
        (Rules(fence_is_checked_per_row=False, own_runs_are_not_claimed=False), "not recorded|should follow|replayed"),
        (Rules(effects_wait_for_commit=False), "came before its start was committed"),
        (Rules(recorded_outputs_are_known=False), "emitted|times"),
        (Rules(interrupted_effects_fail=False), "was executed 2 times"),
    ],
)
def test_a_broken_rule_is_noticed(broken: Rules, noticed: str) -> None:
    for seed in range(PATIENCE):
        world = World(seed, broken)
        world.run()
        if found := violations(world):
            assert any(word in problem for problem in found for word in noticed.split("|")), found
            return
    pytest.fail("nobody noticed")


def test_a_schedule_is_the_same_every_time() -> None:
    first, second = World(7), World(7)
    first.run()
    second.run()
    assert first.now == second.now
    assert first.database.journal == second.database.journal


def test_schedules_are_eventful() -> None:
    """Runs are taken over, blocks run again, effects are interrupted: else nothing was proven."""
    taken_over = repeated = interrupted = confluent = 0
    for seed in range(300):
        world = World(seed)
        world.run()
        confluent += world.graph.confluent
        taken_over += sum(row.fence > 1 for row in world.database.rows)
        repeated += sum(times > 1 for times in world.witness.executions.values())
        interrupted += sum("interrupted" in str(row.ending) for row in world.database.rows)
    assert taken_over > 100
    assert repeated > 20
    assert interrupted > 20
    assert confluent > 50
