"""What users may see and change of their own account."""

from collections.abc import Mapping

from agentplat.accounts import one_time, rules
from agentplat.accounts.errors import EmailMissing, EmailTaken, TimezoneUnknown, UserNotFound
from agentplat.accounts.models import (
    Account,
    EmailBody,
    NotificationType,
    OneTimeKind,
    Preferences,
    PreferencesUpdate,
    Timezone,
    User,
)
from agentplat.accounts.queries import users as queries
from agentplat.infra.clock import now


async def get_or_create(user: User) -> Account:
    """The account behind a token. Its row is there already: the request itself was the first to carry the token."""
    if user.email is None:
        raise EmailMissing
    account = await _account(user.id)
    if account.email is not None:
        return account
    completed = await queries.complete(user)
    if completed is None:
        raise EmailTaken
    return completed


async def change_email(user: User, text: str, *loc: str) -> str:
    """Ask for another address. It counts once it is verified. `loc` says where in the request it stood."""
    address = rules.checked_email(text, *loc)
    await _change(user, address)
    return address


async def change_said_email(user: User, said: str | EmailBody) -> str:
    """The same for a body that is an address, or has one."""
    return await (
        change_email(user, said, "body") if isinstance(said, str) else change_email(user, said.email, "body", "email")
    )


async def timezone(user: User) -> Timezone:
    zone = await queries.timezone(user.id)
    if zone is None:
        raise UserNotFound
    return Timezone(timezone=zone)


async def set_timezone(user: User, wanted: Timezone) -> Timezone:
    if wanted.timezone not in rules.timezones():
        raise TimezoneUnknown.at("body", "timezone")
    await queries.set_timezone(user.id, wanted.timezone)
    return wanted


async def preferences(user: User) -> Preferences:
    return _preferences(await _account(user.id))


async def change_preferences(user: User, wanted: PreferencesUpdate) -> Preferences:
    address = rules.checked_email(wanted.email, "body", "email")
    return _preferences(await _change(user, address, wanted.preferences, wanted.daily_limit))


async def _change(
    user: User, address: str, flags: Mapping[NotificationType, bool] | None = None, daily_limit: int | None = None
) -> Account:
    row = await queries.change(user.id, address, flags, daily_limit)
    if row is None:
        raise EmailTaken
    if row.pending_email is not None:
        await one_time.issue(user.id, OneTimeKind.EMAIL_CHANGE, row.pending_email)
    return row.account


async def _account(user_id: str) -> Account:
    account = await queries.get(user_id)
    if account is None:
        raise UserNotFound
    return account


def _preferences(account: Account) -> Preferences:
    return Preferences(
        user_id=account.id,
        email=account.email or "",
        preferences={kind: getattr(account, flag) for kind, flag in queries.FLAGS.items()},
        daily_limit=account.max_emails_per_day,
        # Nothing counts mails yet.
        emails_sent_today=0,
        last_reset_date=now(),
    )
