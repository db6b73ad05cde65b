"""Who is asking, and what they say about themselves."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct

ADMIN = "admin"
AUTHENTICATED = "authenticated"


class User(Struct, frozen=True, kw_only=True):
    """The person or program behind a request, as its token says."""

    id: str
    email: str | None = None
    role: str = AUTHENTICATED
    name: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == ADMIN


# Whom everybody is when authentication is switched off. The contract fixes the id.
DEFAULT_USER = User(
    id="3e53486c-cf57-477e-ba2a-cb02dc828e1a", email="default@example.com", role=ADMIN, name="Default User"
)


# --- accounts


class NotificationType(StrEnum):
    """The mails that a user can do without."""

    AGENT_RUN = "AGENT_RUN"
    ZERO_BALANCE = "ZERO_BALANCE"
    LOW_BALANCE = "LOW_BALANCE"
    BLOCK_EXECUTION_FAILED = "BLOCK_EXECUTION_FAILED"
    CONTINUOUS_AGENT_ERROR = "CONTINUOUS_AGENT_ERROR"
    DAILY_SUMMARY = "DAILY_SUMMARY"
    WEEKLY_SUMMARY = "WEEKLY_SUMMARY"
    MONTHLY_SUMMARY = "MONTHLY_SUMMARY"
    AGENT_APPROVED = "AGENT_APPROVED"
    AGENT_REJECTED = "AGENT_REJECTED"


class Account(Struct, frozen=True, kw_only=True):
    """A user's own row. The members without a column are there because clients look for them: secrets stay here."""

    id: str
    email: str | None
    email_verified: bool
    name: str | None
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, Any] = {}
    integrations: str = ""
    stripe_customer_id: str | None = None
    top_up_config: dict[str, Any] | None = None
    max_emails_per_day: int
    notify_on_agent_run: bool
    notify_on_zero_balance: bool
    notify_on_low_balance: bool
    notify_on_block_execution_failed: bool
    notify_on_continuous_agent_error: bool
    notify_on_daily_summary: bool
    notify_on_weekly_summary: bool
    notify_on_monthly_summary: bool
    notify_on_agent_approved: bool
    notify_on_agent_rejected: bool
    timezone: str


class Timezone(Struct, frozen=True, kw_only=True):
    """An IANA name, or `not-set` as long as the user has not told one."""

    timezone: str


class PreferencesUpdate(Struct, frozen=True, kw_only=True):
    """Only the kinds of mail that are named change. Another address counts once it is verified."""

    email: str
    preferences: dict[NotificationType, bool]
    daily_limit: Annotated[int, Meta(ge=0, le=1_000_000)]


class Preferences(Struct, frozen=True, kw_only=True):
    user_id: str
    email: str
    preferences: dict[NotificationType, bool]
    daily_limit: int
    emails_sent_today: int
    last_reset_date: datetime
