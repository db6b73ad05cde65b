"""Tickets: what a browser may put into a URL in place of a token. Each opens one connection, and not for long.

Redis knows a ticket only by its hash, and gives it out once.
"""

import secrets
from hashlib import sha256

import msgspec
from redis.exceptions import RedisError

from agentplat.accounts.models import User
from agentplat.infra.redis import redis
from agentplat.infra.settings import get_settings
from agentplat.realtime.errors import TicketInvalid, TicketsAway

EXPIRES_SECONDS = 30

_encode = msgspec.json.Encoder().encode
_users = msgspec.json.Decoder(User)


async def issue(user: User) -> str:
    ticket = secrets.token_urlsafe(32)
    try:
        await redis().set(_key(ticket), _encode(user), ex=EXPIRES_SECONDS)
    except (RedisError, OSError) as error:
        raise TicketsAway from error
    return ticket


async def redeem(ticket: str) -> User:
    """The user of a ticket, which is worth nothing from now on."""
    try:
        found = await redis().getdel(_key(ticket))
    except (RedisError, OSError) as error:
        raise TicketsAway from error
    if found is None:
        raise TicketInvalid
    return _users.decode(found)


def _key(ticket: str) -> str:
    return f"{get_settings().redis_prefix}:ticket:{sha256(ticket.encode()).hexdigest()}"
