"""Thousands of schedules of workers that die, sleep and come too late; and proof that a broken rule would be seen."""

from collections import Counter

import pytest

from tests.simulation.database import Rules
from tests.simulation.hosted import SHORT
from tests.simulation.invariants import violations
from tests.simulation.world import World

SCHEDULES, CHUNKS = 10_000, 20
# How many schedules a broken rule may stay unnoticed.
PATIENCE = 5_000

# Messages that only runs have that wait for others.
CLASSES = ("MailTaken", "NodeReleased", "NodeSuspended", "RunSuspended", "ToolCalled")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_schedule_breaks_a_promise(chunk: int) -> None:
    each = SCHEDULES // CHUNKS
    for seed in range(chunk * each, (chunk + 1) * each):
        world = World(seed)
        world.run()
        assert not (found := violations(world)), f"{found[:3]}\nreplay it with: python -m tests.simulation {seed}"


@pytest.mark.parametrize(
    ("broken", "noticed", "first"),
    [
        (Rules(fence_is_checked=False), "older holder|can't be replayed|should follow|not recorded|says", 0),
        (
            Rules(fence_is_checked_per_row=False, own_runs_are_not_claimed=False),
            "not recorded|should follow|replayed",
            0,
        ),
        (Rules(effects_wait_for_commit=False), "came before its start was committed", 0),
        (Rules(recorded_outputs_are_known=False), "emitted|times", 0),
        (Rules(interrupted_effects_fail=False), "was executed 2 times", 0),
        (Rules(starts_are_paid_in_their_row=False), "paid was", 3900),
        (Rules(letters_go_with_their_row=False), "emitted|counts", 0),
        (Rules(taken_letters_are_known=False), "emitted|counts|replayed", 0),
        (Rules(early_answers_wait=False), "is REVIEW in the end|is RUNNING in the end", 0),
        (Rules(letters_are_read_one_by_one=False), "is REVIEW in the end", 1600),
        (Rules(parking_looks_for_mail=False), "is RUNNING in the end", 0),
        (Rules(suspending_looks_for_mail=False), "in the end", 0),
        (Rules(only_runs_under_way_ask=False), "still waits for somebody|mailbox is still there", 0),
        (Rules(recorded_calls_are_known=False), "calls|executed", 0),
        (Rules(stops_go_before_ends=False), "was stopped with it", 0),
    ],
)
def test_a_broken_rule_is_noticed(broken: Rules, noticed: str, first: int) -> None:
    """`first` spares the schedules before which a breach that is rare was never seen."""
    for seed in range(first, first + PATIENCE):
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
    seen: Counter[str] = Counter()
    for seed in range(300):
        world = World(seed)
        world.run()
        confluent += world.graphs[0].confluent
        taken_over += sum(row.fence > 1 for row in world.database.rows)
        repeated += sum(times > 1 for times in world.witness.executions.values())
        interrupted += sum("interrupted" in str(row.ending) for row in world.database.rows)
        seen["sub-runs"] += len(world.database.children)
        seen["two deep"] += sum(row.level == 2 for row in world.database.rows)
        seen["reviews"] += len(world.witness.told)
        seen["payments"] += len(world.database.ledger)
        seen["ran dry"] += SHORT in str([row.ending for row in world.database.rows])
        seen.update(
            type(message).__name__
            for row in world.database.rows
            for segment in world.database.segments(row.id)
            for message in segment.messages
        )
    assert taken_over > 100
    assert repeated > 20
    assert interrupted > 20
    assert confluent > 50
    for name in ("sub-runs", "two deep", "reviews", "payments", *CLASSES):
        assert seen[name] > 20, seen
    assert seen["ran dry"] > 3, seen
