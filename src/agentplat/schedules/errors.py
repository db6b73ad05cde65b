"""What is refused about schedules."""

from typing import Any

from agentplat.infra.errors import Conflict, Invalid, NotFound


class ScheduleNotFound(NotFound):
    """There is no such schedule."""

    code = "schedule_not_found"

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"Schedule #{schedule_id} not found.")


class TooManySchedules(Conflict):
    """You have as many schedules as there may be. Delete some."""

    code = "too_many_schedules"


class ScheduleInvalid(Invalid):
    """This is no usable schedule."""

    code = "schedule_invalid"

    @classmethod
    def at(cls, message: str, *loc: str) -> "ScheduleInvalid":
        return cls(f"{'.'.join(loc)}: {message}", detail=[problem(message, loc)])


class CronInvalid(ValueError):
    """The text is no cron expression with five fields. The message says why."""


def problem(message: str, loc: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "value_error", "loc": list(loc), "msg": message}
