"""When schedules fire, found by going through every minute of real time and looking at the wall."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def matched(text: str, low: int, high: int) -> set[int]:
    """A field by the book, written without a look at any library."""
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin, end = int(first), int(last or (high if step else first))
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def naive(expression: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    """All firings after `since` up to `until`: each minute of real time, and each minute that the wall leaves out."""
    minutes, hours, days, months, weekdays = (
        matched(text, *span) for text, span in zip(expression.split(), FIELDS, strict=True)
    )
    dom, dow = expression.split()[2], expression.split()[4]

    def matches(wall: datetime) -> bool:
        by_date, by_week = wall.day in days, not weekdays.isdisjoint({wall.isoweekday(), wall.isoweekday() % 7})
        on_day = by_date and by_week if dom.startswith("*") or dow.startswith("*") else by_date or by_week
        return on_day and wall.minute in minutes and wall.hour in hours and wall.month in months

    def shown(moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)

    seen: set[datetime] = set()
    moment = since.replace(second=0, microsecond=0) - DAY / 2
    before, fired = shown(moment), []
    while moment <= until:
        wall = shown(moment)
        fires = matches(wall) and (wall not in seen or len(hours) == 24)
        left_out = before + MINUTE
        while left_out < wall and len(hours) < 24:
            fires = fires or matches(left_out)
            left_out += MINUTE
        seen.add(wall)
        if fires and moment > since:
            fired.append(moment)
        before, moment = wall, moment + MINUTE
    return fired
