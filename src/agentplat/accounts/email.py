"""What comes back on mails: who wants no more of them, and what Postmark tells of those that it has sent.

Whoever sends a mail puts a token into it, so that its reader needs no password to end mails: the base64url of the
user's id, a colon, and the hex of an HMAC-SHA256 of the id. It does not expire, as mails don't.
"""

import hmac
from base64 import b64decode
from hashlib import sha256
from typing import TypeVar

from agentplat.accounts.errors import BounceUnknown, MemberMissing, UnsubscribeTokenInvalid, WebhookTokenInvalid
from agentplat.accounts.models import MailEvent, MailEventKind
from agentplat.accounts.queries import users as queries
from agentplat.infra.errors import ConfigError
from agentplat.infra.settings import get_settings

T = TypeVar("T")

# Postmark's numbers for bounces. Those that pass by themselves: transient, DNS, soft.
PASSING = frozenset({2, 256, 4096})
BOUNCES = PASSING | {
    *(1, 16, 32, 64, 128, 512, 1024, 2048, 8192, 16384),
    *(100_000, 100_001, 100_002, 100_003, 100_006, 100_007, 100_008, 100_009, 100_010),
}


async def unsubscribe(token: str) -> None:
    """End all mails that the user can do without. Again and again, if somebody wishes."""
    await queries.mute(_user_of(token))


def _user_of(token: str) -> str:
    secret = get_settings().unsubscribe_secret
    bare = token.rstrip("=")
    try:
        text = b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise UnsubscribeTokenInvalid from None
    user_id, _, given = text.rpartition(":")
    # Without a secret everybody could make tokens.
    if not secret or not hmac.compare_digest(_signature(user_id, secret).encode(), given.encode()):
        raise UnsubscribeTokenInvalid
    return user_id


def _signature(user_id: str, secret: str) -> str:
    return hmac.new(secret.encode(), user_id.encode(), sha256).hexdigest()


def check_postmark(given: str) -> None:
    expected = get_settings().postmark_webhook_token
    if expected is None:
        raise ConfigError("POSTMARK_WEBHOOK_TOKEN is not set: nobody can prove to be Postmark")
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise WebhookTokenInvalid


async def receive(event: MailEvent) -> None:
    """An address that bounces counts as unverified; who complains of mails, or ends them at Postmark, gets no more.

    The other events are nothing to act on. Neither is an address that nobody has by now.
    """
    match event.record_type:
        case None:
            raise MemberMissing.at("body", "RecordType")
        case MailEventKind.BOUNCE:
            if _needed(event.type_code, "TypeCode") not in BOUNCES:
                raise BounceUnknown.at("body", "TypeCode")
            address = _needed(event.email, "Email")
            if event.type_code not in PASSING:
                await queries.unverify_address(address)
        case MailEventKind.SPAM_COMPLAINT:
            await queries.mute_address(_needed(event.email, "Email"))
        case MailEventKind.SUBSCRIPTION_CHANGE:
            address = _needed(event.recipient, "Recipient")
            if _needed(event.suppress_sending, "SuppressSending"):
                await queries.mute_address(address)


def _needed(value: T | None, name: str) -> T:
    if value is None:
        raise MemberMissing.at("body", name)
    return value
