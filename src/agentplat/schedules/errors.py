"""What is refused about schedules."""

from agentplat.infra.errors import BadValue, Conflict, Invalid, NotFound


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
        problem = {"type": "value_error", "loc": list(loc), "msg": message}
        return cls(f"{'.'.join(loc)}: {message}", detail=[problem])


class CronRefused(BadValue):
    """This cron expression can't be used for a schedule."""

    code = "schedule_invalid"

    def __init__(self, problem: str) -> None:
        super().__init__("cron", problem)


class CronInvalid(ValueError):
    """The text is no cron expression with five fields. The message says why."""
