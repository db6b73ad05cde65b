"""Who may come in. Every handler needs a token, except those whose `opt` says otherwise by one of the names below."""

from typing import Any
from urllib.parse import parse_qs, quote

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from agentplat.accounts import service as accounts
from agentplat.accounts.errors import ApiKeyMissing, InPersonOnly, TokenMissing
from agentplat.accounts.models import DEFAULT_USER, Asked, User
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import get_logger
from agentplat.realtime.service import TICKETS, redeem
from agentplat.server.limits import ADDRESS, KEY, USER, Limits
from agentplat.server.proxies import Proxies

PUBLIC = "public"
# Not for administrators who act as somebody else: what they would learn or change is the person's own.
IN_PERSON = "in_person"
# Also for backends with the service-role key.
SERVICE_KEY = "service_key"
# Without a token, and therefore limited by the address that it comes from.
BY_ADDRESS = "by_address"
# For Postmark, which has a token of its own.
POSTMARK = "postmark"
# For programs: an API key with this permission instead of a token.
PERMISSION = "permission"

_log = get_logger(__name__)


class Authentication(ASGIMiddleware):
    """Puts the user into the scope before anything of the body is read, and counts the request as theirs."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self.limits = limits
        self.proxies = proxies

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        opt = scope["route_handler"].opt
        if opt.get(PUBLIC):
            if opt.get(BY_ADDRESS):
                await self.limits.take(scope, ADDRESS, self.proxies.address(scope))  # type: ignore[arg-type]
        elif opt.get(POSTMARK):
            accounts.check_postmark(_header(scope, b"x-postmark-webhook-token"))
        elif permission := opt.get(PERMISSION):
            # Nothing but its key says who a program is, and nobody acts for it.
            if not (key := _header(scope, b"x-api-key")):
                raise ApiKeyMissing
            scope["user"] = user = await accounts.user_of_key(key, permission)
            await self.limits.take(scope, KEY, key)
            await self.limits.take(scope, USER, user.id)
        else:
            scope["user"] = await self._person(scope, opt)
        await next_app(scope, receive, send)

    async def _person(self, scope: Scope, opt: dict[str, Any]) -> User:
        authorization = target = ""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"x-act-as-user-id":
                target = value.decode("latin-1").strip()
        if opt.get(SERVICE_KEY) and accounts.is_service_key(_token(authorization)):
            return accounts.SERVICE
        if not authorization and opt.get(TICKETS) and (ticket := _ticket(scope)):
            user = await redeem(ticket)
        else:
            user = _user(authorization)
        await self.limits.take(scope, USER, user.id)
        if target and opt.get(IN_PERSON):
            raise InPersonOnly
        if target and target != user.id and not _for_administrators(scope):
            return await _acting(scope, user, target)
        await accounts.ensure_user(user)
        return user


def _for_administrators(scope: Any) -> bool:
    """Who may do this is themselves here, whomever they act as otherwise."""
    return any(accounts.admins_only in (layer.guards or ()) for layer in scope["route_handler"].ownership_layers)


async def _acting(scope: Any, admin: User, target: str) -> User:
    asked = Asked(method=scope["method"], path=quote(scope["path"], errors="replace"), request_id=scope["request_id"])
    user = await accounts.impersonate(admin, target, asked)
    _log.info("impersonation", admin_id=admin.id, user_id=user.id, method=asked.method, path=asked.path)
    return user


def _ticket(scope: Scope) -> str | None:
    """Browsers can't set headers on an event stream."""
    given = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
    return given[-1] if given else None


def _header(scope: Scope, name: bytes) -> str:
    """The first that says something."""
    found = (value.decode("latin-1").strip() for given, value in scope["headers"] if given == name)
    return next(filter(None, found), "")


def _user(authorization: str) -> User:
    if not get_settings().enable_auth:
        return DEFAULT_USER
    token = _token(authorization)
    if not token:
        raise TokenMissing
    return accounts.authenticate(token)


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def current_user(request: ASGIConnection[Any, Any, Any, Any]) -> User:
    """What a handler's `user` parameter is filled with."""
    user: User = request.scope["user"]
    return user
