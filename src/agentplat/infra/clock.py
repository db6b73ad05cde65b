"""The only source of wall-clock time outside the engine, which is given its times."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time in UTC, cut to milliseconds: what the contract shows, and what two clients can compare exactly."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
