"""Clocks and timers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field

Zone = Literal[
    "UTC",
    "Pacific/Honolulu",
    "America/Anchorage",
    "America/Los_Angeles",
    "America/Denver",
    "America/Chicago",
    "America/New_York",
    "America/Caracas",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Atlantic/South_Georgia",
    "Atlantic/Azores",
    "Europe/London",
    "Europe/Paris",
    "Europe/Athens",
    "Europe/Moscow",
    "Asia/Tehran",
    "Asia/Dubai",
    "Asia/Kabul",
    "Asia/Karachi",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Dhaka",
    "Asia/Yangon",
    "Asia/Bangkok",
    "Asia/Shanghai",
    "Australia/Eucla",
    "Asia/Tokyo",
    "Australia/Adelaide",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Noumea",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Tongatapu",
    "Pacific/Kiritimati",
    "Etc/GMT-12",
    "Etc/GMT+12",
]


class _Strftime(Struct, frozen=True, kw_only=True, tag_field="discriminator", tag="strftime"):
    timezone: Zone = "UTC"
    use_user_timezone: bool = False


class _Iso(Struct, frozen=True, kw_only=True, tag_field="discriminator", tag="iso8601"):
    timezone: Zone = "UTC"
    use_user_timezone: bool = False


class TimeStrftime(_Strftime, frozen=True, kw_only=True, tag="strftime"):
    format: str = "%H:%M:%S"


class DateStrftime(_Strftime, frozen=True, kw_only=True, tag="strftime"):
    format: str = "%Y-%m-%d"


class DateTimeStrftime(_Strftime, frozen=True, kw_only=True, tag="strftime"):
    format: str = "%Y-%m-%d %H:%M:%S"


class DateIso(_Iso, frozen=True, kw_only=True, tag="iso8601"):
    pass


class TimeIso(_Iso, frozen=True, kw_only=True, tag="iso8601"):
    include_microseconds: bool = False


def _now(chosen: _Strftime | _Iso, ctx: Context) -> datetime:
    if chosen.use_user_timezone:
        try:
            return datetime.now(ZoneInfo(ctx.timezone))
        except (ZoneInfoNotFoundError, ValueError):
            pass  # the user has not told one, or one this machine doesn't know
    return datetime.now(UTC if chosen.timezone == "UTC" else ZoneInfo(chosen.timezone))


def _precision(chosen: TimeIso) -> str:
    return "microseconds" if chosen.include_microseconds else "seconds"


class _ClockBlock(Block):
    categories = (Category.TEXT,)
    inline = True
    repeatable = True


class GetCurrentTimeBlock(_ClockBlock):
    """Tells the time of day."""

    id = "a892b8d9-3e4e-4e9c-9c1e-75f8efcf1bfa"

    class Input(Schema):
        trigger: str = field(description="Any text; it starts the block.")
        format_type: TimeStrftime | TimeIso = field(default=TimeStrftime(), description="How to write it.")

    class Output(OutputSchema):
        time: str = field(description="The time.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        chosen = input.format_type
        now = _now(chosen, ctx)
        if isinstance(chosen, TimeIso):
            # A time without its date does not know its offset.
            yield "time", "T" + now.isoformat(timespec=_precision(chosen)).partition("T")[2]
        else:
            yield "time", now.strftime(chosen.format)


class GetCurrentDateBlock(_ClockBlock):
    """Tells today's date, or that of some days ago."""

    id = "b29c1b50-5d0e-4d9f-8f9d-1b0e6fcbf0b1"

    class Input(Schema):
        trigger: str = field(description="Any text; it starts the block.")
        offset: int | str = field(default=0, description="How many days ago.")
        format_type: DateStrftime | DateIso = field(default=DateStrftime(), description="How to write it.")

    class Output(OutputSchema):
        date: str = field(description="The date.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        chosen = input.format_type
        try:
            offset = int(input.offset)
        except ValueError:
            offset = 0
        try:
            day = _now(chosen, ctx) - timedelta(days=offset)
        except OverflowError as error:
            raise BlockError(f"There is no date {offset} days ago.") from error
        yield "date", day.date().isoformat() if isinstance(chosen, DateIso) else day.strftime(chosen.format)


class GetCurrentDateAndTimeBlock(_ClockBlock):
    """Tells today's date and the time of day."""

    id = "716a67b3-6760-42e7-86dc-18645c6e00fc"

    class Input(Schema):
        trigger: str = field(description="Any text; it starts the block.")
        format_type: DateTimeStrftime | TimeIso = field(default=DateTimeStrftime(), description="How to write it.")

    class Output(OutputSchema):
        date_time: str = field(description="The date and time.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        chosen = input.format_type
        now = _now(chosen, ctx)
        if isinstance(chosen, TimeIso):
            yield "date_time", now.isoformat(timespec=_precision(chosen))
        else:
            yield "date_time", now.strftime(chosen.format)


class CountdownTimerBlock(Block):
    """Waits, then emits a message; as often as asked."""

    id = "d67a9c52-5e4e-11e2-bcfd-0800200c9a71"
    categories = (Category.TEXT,)
    repeatable = True

    class Input(Schema):
        input_message: Any = field(default="timer finished", advanced=False, description="The message.")
        seconds: int | str = field(default=0, advanced=False, description="Seconds to wait.")
        minutes: int | str = field(default=0, advanced=False, description="Minutes to wait.")
        hours: int | str = field(default=0, advanced=False, description="Hours to wait.")
        days: int | str = field(default=0, advanced=False, description="Days to wait.")
        repeat: int = field(default=1, description="How often.")

    class Output(OutputSchema):
        output_message: Any = field(description="The message.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        seconds = int(input.seconds) + 60 * int(input.minutes) + 3600 * int(input.hours) + 86_400 * int(input.days)
        for _ in range(input.repeat):
            if seconds > 0:
                await asyncio.sleep(seconds)
            yield "output_message", input.input_message
