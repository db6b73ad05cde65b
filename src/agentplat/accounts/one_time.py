"""Tokens that prove that somebody reads the mails of an address.

There is nothing yet that sends mails. A token waits in its row, sealed, for whatever will send it; until then
`agentplat user links` shows it to whoever runs the platform.
"""

import secrets
from hashlib import sha256
from urllib.parse import urlencode, urlsplit

from agentplat.accounts.errors import OneTimeTokenInvalid
from agentplat.accounts.models import Handover, OneTimeKind
from agentplat.accounts.queries import one_time as queries
from agentplat.infra.crypto import DecryptionFailed, keyring
from agentplat.infra.origins import REGEX
from agentplat.infra.settings import get_settings

MOST_TOLD = 20
HOURS = {OneTimeKind.RECOVERY: 1, OneTimeKind.EMAIL_CHANGE: 24}


async def issue(user_id: str, kind: OneTimeKind, address: str, redirect_to: str | None = None) -> None:
    token = secrets.token_urlsafe(32)
    sealed = keyring().seal(token.encode(), _owner(user_id, kind))
    await queries.insert(user_id, kind, address, _hash(token), sealed, _own_page(redirect_to), HOURS[kind])


async def redeem(token: str, kind: OneTimeKind) -> tuple[str, str]:
    """The id and the address of the user whose token it is. It works once."""
    found = await queries.redeem(_hash(token), kind)
    if found is None:
        raise OneTimeTokenInvalid
    return found


async def waiting(email: str | None = None) -> list[Handover]:
    """The links that wait to be mailed."""
    return [
        Handover(kind=one.kind, address=one.address, link=_link(one), expires_at=one.expires_at)
        for one in await queries.waiting(email)
    ]


async def seal_anew() -> int:
    """Seal what an older key sealed with the current one. The number of those. What does not open stays as it is until
    it expires, and is an error when all else is done."""
    await queries.remove_expired()
    ring, changes, left = keyring(), [], []
    for one in await queries.sealed_otherwise(ring.current):
        owner = _owner(one.user_id, one.kind)
        try:
            changes.append((one.hash, one.sealed, ring.seal(ring.open(one.sealed, owner), owner)))
        except DecryptionFailed as error:
            left.append(str(error))
    await queries.replace_sealed(changes)
    if left:
        told = "\n".join(left[:MOST_TOLD])
        raise DecryptionFailed(f"{len(changes)} links were sealed anew, and {len(left)} can't be:\n{told}")
    return len(changes)


def _link(one: queries.Waiting) -> str:
    token = keyring().open(one.sealed, _owner(one.user_id, one.kind)).decode()
    separator = "&" if urlsplit(one.redirect_to).query else "?"
    return one.redirect_to + separator + urlencode({"token_hash": token, "type": one.kind})


def _own_page(wanted: str | None) -> str:
    """A token must not be sent to just any site: where it may go is the frontend, and who may call the API."""
    settings = get_settings()
    plain = (entry for entry in settings.backend_cors_allow_origins if not entry.startswith(REGEX))
    allowed = {_origin(url) for url in (settings.frontend_base_url, *plain)}
    return wanted if wanted and _origin(wanted) in allowed else settings.frontend_base_url


def _origin(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return (parts.scheme, parts.netloc) if parts.scheme in ("http", "https") and url.isprintable() else None


def _owner(user_id: str, kind: str) -> str:
    return f"one_time_tokens {user_id} {kind}"


def _hash(token: str) -> bytes:
    # The token has 256 random bits: there is nothing to guess, so nothing that a slow hash would protect.
    return sha256(token.encode()).digest()
