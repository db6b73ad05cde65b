"""When schedules fire, compared with going through every minute of real time and looking at the wall."""

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentplat.schedules import rules
from agentplat.schedules.errors import CronInvalid
from agentplat.schedules.models import MissedRuns
from agentplat.schedules.rules import Cron, cron_of, due
from tests.schedules.wall import DAY, MINUTE, at, naive

# A zone and the days (UTC) about which its clock is set. Lord Howe changes by half an hour; in Santiago and Beirut it
# is midnight that is skipped; Troll changes by two hours; Casablanca's ends of summer are early in the year.
CHANGES = [
    ("Europe/Berlin", "2026-03-29", "2026-10-25"),
    ("America/New_York", "2026-03-08", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-10-03", "2026-04-04"),
    ("America/Santiago", "2026-09-06", "2026-04-05"),
    ("Asia/Beirut", "2026-03-28", "2026-10-24"),
    ("Antarctica/Troll", "2026-03-29", "2026-10-25"),
    ("Africa/Casablanca", "2026-03-22", "2026-02-15"),
    ("Asia/Kolkata", "2026-03-29", "2026-10-25"),
]


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    term = st.one_of(
        number.map(str), span, st.tuples(st.one_of(st.just("*"), span), st.integers(1, 30)).map("{0[0]}/{0[1]}".format)
    )
    return st.lists(term, min_size=1, max_size=3).map(",".join)


expressions = st.builds(
    "{} {} {} {} {}".format,
    st.one_of(st.just("*"), st.sampled_from(["0", "30", "*/15", "59"]), field(0, 59)),
    st.one_of(st.just("*"), st.sampled_from(["0", "1", "2", "3", "*/2", "0-23", "23", "1-3"]), field(0, 23)),
    st.one_of(st.just("*"), st.just("*"), field(1, 31)),
    st.just("*"),
    st.one_of(st.just("*"), st.sampled_from(["0", "7", "1-5", "6", "5-7"])),
)


@settings(max_examples=80)
@given(
    expression=expressions,
    change=st.sampled_from([(zone, day) for zone, *days in CHANGES for day in days]),
    offset=st.integers(0, 36 * 60),
)
def test_next_firings_are_those_of_going_through_every_minute(
    expression: str, change: tuple[str, str], offset: int
) -> None:
    zone, day = change
    since = at(day) - DAY / 2 + offset * MINUTE
    until = since + DAY
    found = rules.Cron(expression, ZoneInfo(zone)).within(since + timedelta(microseconds=1), until, 10_000)
    assert found == naive(expression, zone, since, until)


def test_the_changes_are_on_those_days() -> None:
    """A test of the table above: but for Kolkata, the offset at both ends of each day differs."""
    for zone, *days in CHANGES:
        for day in days:
            offsets = {(at(day) + n * DAY / 2).astimezone(ZoneInfo(zone)).utcoffset() for n in (-1, 0, 1, 2, 3)}
            assert len(offsets) == (1 if zone == "Asia/Kolkata" else 2), (zone, day)


def next_of(expression: str, zone: str, since: str, count: int) -> list[str]:
    times = rules.preview(Cron(expression, ZoneInfo(zone)), at(since), count)
    return [f"{time:%m-%d %H:%M %Z}" for time in times]


@pytest.mark.parametrize(
    ("expression", "since", "expected"),
    [
        # 2026-03-29: from 02:00 CET to 03:00 CEST; 2026-10-25: from 03:00 CEST to 02:00 CET.
        ("30 2 * * *", "2026-03-28T00:00", ["03-28 02:30 CET", "03-29 03:00 CEST", "03-30 02:30 CEST"]),
        ("0,15,30 2 * * *", "2026-03-29T00:00", ["03-29 03:00 CEST", "03-30 02:00 CEST"]),
        ("0 2,3 * * *", "2026-03-29T00:00", ["03-29 03:00 CEST", "03-30 02:00 CEST"]),
        ("30 2 * * *", "2026-10-24T12:00", ["10-25 02:30 CEST", "10-26 02:30 CET"]),
        ("30 * * * *", "2026-03-29T00:00", ["03-29 01:30 CET", "03-29 03:30 CEST", "03-29 04:30 CEST"]),
        ("30 * * * *", "2026-10-25T00:00", ["10-25 02:30 CEST", "10-25 02:30 CET", "10-25 03:30 CET"]),
        ("5-5/10 2 * * sun-0/2", "2026-10-25T02:00", ["11-01 02:05 CET", "11-08 02:05 CET"]),
        ("*/20 2 * * *", "2026-10-25T00:30", ["10-25 02:40 CEST", "10-26 02:00 CET"]),
    ],
)
def test_about_a_change_of_the_clock(expression: str, since: str, expected: list[str]) -> None:
    assert next_of(expression, "Europe/Berlin", since, len(expected)) == expected


@pytest.mark.parametrize(
    ("weekday", "day"), [("0", "Sun"), ("7", "Sun"), ("1", "Mon"), ("5", "Fri"), ("sun", "Sun"), ("MON", "Mon")]
)
def test_weekdays_are_those_of_standard_cron(weekday: str, day: str) -> None:
    times = rules.preview(Cron(f"0 9 * * {weekday}", ZoneInfo("UTC")), at("2026-01-01"), 3)
    assert {f"{time:%a}" for time in times} == {day}
    assert [(b - a).days for a, b in pairwise(times)] == [7, 7]


@pytest.mark.parametrize(
    ("weekdays", "days"),
    [
        ("sat-sun", {6, 7}),
        ("Fri-SUN/2", {5, 7}),
        ("mon-sun", {1, 2, 3, 4, 5, 6, 7}),
        ("6-sun,wed", {3, 6, 7}),
        ("sun-tue", {1, 2, 7}),
        ("sun-sun", {7}),
        ("0-sun", {7}),
        ("7-sun", {7}),
        ("sun-7", {1, 2, 3, 4, 5, 6, 7}),
        ("5-7", {5, 6, 7}),
    ],
)
def test_a_week_may_end_with_sunday(weekdays: str, days: set[int]) -> None:
    times = rules.preview(Cron(f"0 9 * * {weekdays}", ZoneInfo("UTC")), at("2026-01-01"), 14)
    assert {time.isoweekday() for time in times} == days


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("* * * * fri-mon", "day-of-week"),
        ("* * * nov-feb *", "month"),
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("* * L * *", "day of month 'L'"),
        ("* * * * 5L", "day of week '5L'"),
        ("* * * * MON#1", "day of week"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("٣ * * * *", "minute"),
        ("* * * * fr\u0131", "day of week"),
        ("0 0 31 2 *", "day-of-month"),
        ("0 0 30 2 *", "day-of-month"),
        (", * * * *", "minute"),
        ("mon * * * *", "minute"),
        ("* * * sun *", "month"),
        ("1,2," * 300 + "3 * * * *", "five fields"),
    ],
)
def test_what_is_no_expression(expression: str, reason: str) -> None:
    with pytest.raises(CronInvalid, match=reason):
        Cron(expression, ZoneInfo("UTC"))


@settings(max_examples=300)
@given(st.text(max_size=40) | st.text("0123456789*/,-LW#?mon ", max_size=40))
def test_any_text_is_an_expression_that_fires_or_refused(text: str) -> None:
    try:
        cron = Cron(text, ZoneInfo("Europe/Berlin"))
    except CronInvalid:
        return
    now = at("2026-03-29T00:30")
    following = cron.next_after(now)
    assert following is not None
    assert following > now


# Missed firings

HOURLY = cron_of("0 * * * *", "UTC")
MINUTELY = cron_of("* * * * *", "UTC")


def test_what_is_hardly_late_is_not_missed() -> None:
    since = at("2026-01-01T09:00")
    for policy in MissedRuns:
        for late in (0, 59, 60):
            todo = due(HOURLY, since, since + timedelta(seconds=late), policy, DAY)
            assert (todo.fire, todo.left_out, todo.next) == ([since], None, at("2026-01-01T10:00"))


@pytest.mark.parametrize(
    ("policy", "window", "fired", "left_out"),
    [
        (MissedRuns.SKIP, 24, [], 1),
        (MissedRuns.ONE, 24, [5], 1),
        (MissedRuns.ONE, 0, [5], 1),
        (MissedRuns.ALL, 24, [1, 2, 3, 4, 5], None),
        (MissedRuns.ALL, 3, [3, 4, 5], 1),
        (MissedRuns.ALL, 0, [], 1),
    ],
)
def test_policies_after_downtime(policy: MissedRuns, window: int, fired: list[int], left_out: int | None) -> None:
    def hour(number: int) -> datetime:
        return at("2026-01-01") + timedelta(hours=number)

    todo = due(HOURLY, hour(1), hour(5) + 30 * MINUTE, policy, timedelta(hours=window))
    assert todo.fire == [hour(number) for number in fired]
    assert todo.left_out == (None if left_out is None else hour(left_out))
    assert todo.next == hour(6)


def test_a_single_missed_firing_is_made_up_for_without_a_trace() -> None:
    since = at("2026-01-01T09:00")
    todo = due(HOURLY, since, since + 30 * MINUTE, MissedRuns.ONE, DAY)
    assert (todo.fire, todo.left_out) == ([since], None)


def test_what_is_due_now_is_fired_whatever_was_missed_before() -> None:
    since, now = at("2026-01-01T09:00"), at("2026-01-01T12:00:01")
    todo = due(HOURLY, since, now, MissedRuns.SKIP, DAY)
    assert (todo.fire, todo.left_out) == ([at("2026-01-01T12:00")], since)


def test_no_downtime_is_made_up_for_without_bound() -> None:
    since = at("2025-01-01")
    todo = due(MINUTELY, since, at("2026-01-01"), MissedRuns.ALL, timedelta(days=7))
    assert len(todo.fire) == rules.MOST_MADE_UP_FOR
    assert todo.fire[-1] == at("2026-01-01")
    assert todo.left_out == since
    assert due(MINUTELY, since, at("2026-01-01"), MissedRuns.ONE, DAY).fire == [at("2026-01-01")]


@settings(max_examples=50)
@given(expression=expressions, hours=st.integers(0, 300))
def test_the_last_firing_is_the_last_of_all(expression: str, hours: int) -> None:
    cron = Cron(expression, ZoneInfo("Europe/Berlin"))
    since = cron.next_after(at("2026-03-01"))
    assert since is not None
    now = since + timedelta(hours=hours)
    everything = cron.within(since, now, 10**6)
    assert everything[0] == since
    assert cron.last_until(since, now) == everything[-1]


def test_the_shortest_interval() -> None:
    assert MINUTELY.shortest_interval(at("2026-01-01")) == MINUTE
    assert cron_of("0,50 9 * * 1", "UTC").shortest_interval(at("2026-01-01")) == 50 * MINUTE
    assert HOURLY.shortest_interval(at("2026-01-01")) == timedelta(hours=1)
