"""When a schedule fires. Pure: every time comes from outside, and every answer is in UTC.

A cron expression speaks of the clock on the wall, which is set forward and back. So the library only finds the wall's
times that match; which moments those are is decided here:

- A time that is skipped, because the clock is set forward over it, counts as the moment after the gap; several skipped
  times, and one that matches that moment anyhow, are one firing.
- A time that comes twice, because the clock is set back, counts the first time.
- An expression that matches in every hour of the day means a rhythm and not a time of day: it fires as often as the
  wall shows a matching time. Nothing is made up for in a gap, and both passes of a repeated hour count.
"""

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from msgspec import Struct

from agentplat.schedules.errors import CronInvalid
from agentplat.schedules.models import MissedRuns

MAX_CRON_LENGTH = 500
# What is later than this was missed: nobody was there to fire it, or not nearly enough of them.
GRACE = timedelta(seconds=60)
# However many were missed, no more than these are made up for.
MOST_MADE_UP_FOR = 100
# How many firings in a row are looked at to find the shortest time between two.
LOOKED_AT = 100

# No clock is set back by more.
_LONGEST_STEP_BACK = timedelta(hours=3)
_HOURS = 24
# With the names that their numbers have.
_FIELDS: tuple[tuple[str, list[str]], ...] = (
    ("minute", []),
    ("hour", []),
    ("day of month", []),
    ("month", ["", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]),
    ("day of week", ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]),
)
# The library takes more than the standard has: a sixth field for seconds, L, W and #.
_VALUE = "(?:[0-9]{1,2}|[A-Za-z]{3})"
_TERM = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,2}})?"
_FIELD = re.compile(rf"{_TERM}(?:,{_TERM})*")


class Cron:
    """A checked expression in a zone."""

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        self.zone = zone
        self._plain = _plain(expression)
        self._is_rhythm = len(_parsed(self._plain).hours) == _HOURS

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The moments of all firings after this one, in order. Ends where none follows within fifty years."""
        while (following := self.next_after(moment)) is not None:
            yield following
            moment = following

    def next_after(self, moment: datetime) -> datetime | None:
        # Where the clock is about to be set back, it will show again what it has shown already.
        step_back = self._offset(moment) - self._offset(moment + _LONGEST_STEP_BACK)
        wall = moment.astimezone(self.zone).replace(tzinfo=None) - max(step_back, timedelta())
        again: datetime | None = None
        for matching in CronSim(self._plain, wall):
            first, second = self._moments(matching)
            if second is not None and second > moment:
                again = second if again is None else min(again, second)
            # First passes come in the order of the wall, so no later one is sooner than this.
            if first is not None and first > moment:
                return first if again is None else min(first, again)
        return again

    def last_until(self, since: datetime, moment: datetime) -> datetime:
        """The last firing up to `moment`, where `since` is one. Looks back further and further, to stay quick."""
        back = timedelta(hours=1)
        while moment - back > since:
            if found := self.within(moment - back, moment, 1):
                return found[0]
            back *= 4
        return (self.within(since, moment, 1) or [since])[0]

    def within(self, since: datetime, moment: datetime, most: int) -> list[datetime]:
        """The last firings from `since` to `moment`, both included."""
        return list(deque(self._until(since - timedelta(microseconds=1), moment), maxlen=most))

    def shortest_interval(self, moment: datetime) -> timedelta | None:
        """Between two firings in a row, among those that come next."""
        times = list(islice(self.after(moment), LOOKED_AT))
        return min((b - a for a, b in pairwise(times)), default=None)

    def _until(self, since: datetime, moment: datetime) -> Iterator[datetime]:
        for following in self.after(since):
            if following > moment:
                return
            yield following

    def _moments(self, matching: datetime) -> tuple[datetime | None, datetime | None]:
        """When the wall shows this time: for the first time, and once more."""
        first = matching.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        second = matching.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        if first == second:
            return first, None
        if first < second:
            return first, second if self._is_rhythm else None
        # Never: read by the clock before the change it is a moment after it, and the other way round.
        return None if self._is_rhythm else self._change_between(second, first), None

    def _change_between(self, before: datetime, after: datetime) -> datetime:
        """The first moment of the offset that holds `after`, to the second."""
        offset = self._offset(after)
        low, high = 0, int((after - before).total_seconds())
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(before + timedelta(seconds=middle)) == offset:
                high = middle
            else:
                low = middle
        return before + timedelta(seconds=high)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta()


@lru_cache(maxsize=10_000)
def cron_of(expression: str, zone: str) -> Cron:
    """Raises CronInvalid, also for a zone that this machine does not know."""
    try:
        return Cron(expression, ZoneInfo(zone))
    except ZoneInfoNotFoundError as error:
        raise CronInvalid(f"The time zone {zone} is not known here") from error


def _plain(expression: str) -> str:
    """The expression in numbers. Raises CronInvalid for what is not in the standard."""
    fields = expression.split() if len(expression) <= MAX_CRON_LENGTH else []
    if len(fields) != len(_FIELDS):
        raise CronInvalid("Expected five fields: minute, hour, day of month, month, day of week")
    for (name, _), text in zip(_FIELDS, fields, strict=True):
        if not _FIELD.fullmatch(text):
            raise CronInvalid(f"The {name} {text!r} is not usable")
    return " ".join(
        ",".join(_plain_term(term, names) for term in text.upper().split(","))
        for (_, names), text in zip(_FIELDS, fields, strict=True)
    )


def _plain_term(term: str, names: list[str]) -> str:
    span, slash, step = term.partition("/")
    ends = [str(names.index(end)) if end in names else end.lstrip("0") or "0" for end in span.split("-")]
    if span.endswith("-SUN") and ends[0] != "0":
        # A week that is told by names may end with the day that it begins with in numbers: `sat-sun`.
        ends[1] = "7"
    # The library takes a range of one number for that number and all after it.
    return ends[0] if len(ends) == 2 and ends[0] == ends[1] else "-".join(ends) + slash + step


def _parsed(plain: str) -> CronSim:
    try:
        # Any time does: it has no bearing on whether the expression is one.
        parsed = CronSim(plain, datetime(2000, 1, 1))  # noqa: DTZ001 - the wall has no zone
        next(parsed)
    except CronSimError as error:
        raise CronInvalid(str(error)) from error
    except StopIteration:
        raise CronInvalid("The expression never fires") from None
    return parsed


class Due(Struct, frozen=True, kw_only=True):
    """What a schedule has to do now: firings to start, the first of those left out if any, and when it is due again."""

    fire: list[datetime]
    left_out: datetime | None
    next: datetime | None


def due(cron: Cron, since: datetime, now: datetime, policy: MissedRuns, window: timedelta) -> Due:
    """`since` is the schedule's earliest firing that was not looked at, and not later than `now`."""
    following = cron.next_after(now)
    if now - since <= GRACE:
        return Due(fire=cron.within(since, now, MOST_MADE_UP_FOR) or [since], left_out=None, next=following)
    match policy:
        case MissedRuns.SKIP:
            fire = cron.within(now - GRACE, now, MOST_MADE_UP_FOR)
        case MissedRuns.ONE:
            fire = [cron.last_until(since, now)]
        case MissedRuns.ALL:
            fire = cron.within(max(since, now - window), now, MOST_MADE_UP_FOR)
    left_out = since if since not in fire else None
    return Due(fire=fire, left_out=left_out, next=following)


def preview(cron: Cron, now: datetime, count: int) -> list[datetime]:
    """The next firings as the zone's clock shows them."""
    return [time.astimezone(cron.zone) for time in islice(cron.after(now), count)]
