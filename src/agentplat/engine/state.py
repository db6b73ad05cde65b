"""Statuses, and who may go where. Illegal moves raise and change nothing.

Two rules hold for this file: transitions are data, and nothing here knows whether it is a run or an activation that
moves, because both obey the same table.
"""

from enum import StrEnum


class Status(StrEnum):
    """The contract's AgentExecutionStatus."""

    INCOMPLETE = "INCOMPLETE"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    REVIEW = "REVIEW"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.TERMINATED})

# target -> the statuses it may be reached from
SOURCES: dict[Status, frozenset[Status]] = {
    Status.INCOMPLETE: frozenset(),
    Status.QUEUED: frozenset({Status.INCOMPLETE, Status.TERMINATED, Status.REVIEW}),
    Status.RUNNING: frozenset({Status.INCOMPLETE, Status.QUEUED, Status.TERMINATED, Status.REVIEW}),
    Status.COMPLETED: frozenset({Status.RUNNING}),
    Status.FAILED: frozenset({Status.INCOMPLETE, Status.QUEUED, Status.RUNNING, Status.REVIEW}),
    Status.TERMINATED: frozenset({Status.INCOMPLETE, Status.QUEUED, Status.RUNNING, Status.REVIEW}),
    Status.REVIEW: frozenset({Status.RUNNING}),
}


class IllegalTransition(ValueError):
    """This status can't follow that one."""


def check_transition(current: Status, target: Status) -> None:
    if current not in SOURCES[target]:
        raise IllegalTransition(f"{current} -> {target}")
