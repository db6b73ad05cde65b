"""Signing in without anybody else: accounts with passwords, sessions, and proofs of addresses.

A session is a family of refresh tokens. A token is the session's id, its number in the family, and a keyed hash of
both: nothing in the database lets anybody make one, and asking twice gives the same successor. Access tokens are good
until they expire, an hour at most, also when their session is over.
"""

import time
from base64 import b64decode, urlsafe_b64encode
from datetime import timedelta
from typing import Literal
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from agentplat.accounts import attempts, one_time, passwords, rules, signing
from agentplat.accounts.errors import (
    AdminRequired,
    CredentialsInvalid,
    EmailTaken,
    OneTimeTokenInvalid,
    RefreshTokenReused,
    RefreshTokenUnknown,
    SessionNotFound,
    SignInElsewhere,
    SignUpClosed,
    UserExists,
    UserNotFound,
)
from agentplat.accounts.models import (
    AUTHENTICATED,
    AdminUserBody,
    AuthUser,
    Login,
    OneTimeKind,
    Session,
    SignUpBody,
    User,
    UserMetadata,
    UserUpdate,
    VerifyBody,
)
from agentplat.accounts.queries import sign_in as queries
from agentplat.accounts.users import change_email
from agentplat.infra.crypto import keyring
from agentplat.infra.ids import new_id
from agentplat.infra.settings import get_settings
from agentplat.infra.uow import unit_of_work

Scope = Literal["local", "global", "others"]

_PURPOSE = "refresh-tokens"


def _offered() -> None:
    if not signing.offered(get_settings()):
        raise SignInElsewhere


# --- ways in


async def sign_up(body: SignUpBody) -> Session:
    _offered()
    if not get_settings().enable_sign_up:
        raise SignUpClosed
    return await _opened(await _create(body.email, body.password, body.data, AUTHENTICATED))


async def by_password(email: str, password: str) -> Session:
    """The same error, in the same time, for a wrong password and for an address that nobody has."""
    _offered()
    login, counted = await _meant(email)
    known = login.password_hash if login else None
    async with attempts.turn(counted):
        await attempts.count("password", counted)
        if not await passwords.matches(known, password) or login is None or known is None:
            raise CredentialsInvalid
        await attempts.forget("password", counted)
    return await _opened(login, known, await passwords.hashed(password) if passwords.is_dated(known) else None)


async def refresh(token: str) -> Session:
    _offered()
    session_id, generation = _read(token)
    used = await queries.rotate(session_id, generation, get_settings().refresh_grace_seconds)
    if used is None:
        raise RefreshTokenUnknown
    login, counting = used
    if counting is None:
        raise RefreshTokenReused
    return _session(login, session_id, counting)


async def verify(body: VerifyBody) -> Session | AuthUser:
    """Redeem a mailed token. Where sessions are somebody else's business, there is none in the answer."""
    try:
        kind = OneTimeKind(body.type)
    except ValueError:
        raise OneTimeTokenInvalid from None
    if kind == OneTimeKind.RECOVERY:
        _offered()
    async with unit_of_work():
        user_id, address = await one_time.redeem(body.token_hash, kind)
        if kind == OneTimeKind.EMAIL_CHANGE:
            confirmed = await queries.confirm_email(user_id, address)
            if confirmed is None:
                raise EmailTaken
            if not confirmed:
                raise OneTimeTokenInvalid
        login = await _login(user_id)
        return await _opened(login) if signing.offered(get_settings()) else auth_user(login)


async def recover(email: str, redirect_to: str | None) -> None:
    """Have a link made for whoever reads the mails of an address. Nobody learns whether anybody has it."""
    _offered()
    login, counted = await _meant(email)
    await attempts.count("recovery", counted)
    if login is not None and login.email is not None:
        await one_time.issue(login.id, OneTimeKind.RECOVERY, login.email, redirect_to)


async def _meant(email: str) -> tuple[Login | None, str]:
    """Whose address it is, and under what attempts with it count. Of a known user that is the address as it is stored:
    Postgres has ways to write one in other letters that would else all be tried anew.
    """
    login = await queries.by_email(email) if email.isprintable() else None
    return login, login.email if login and login.email else email


# --- somebody who is in


async def get(user: User) -> AuthUser:
    return auth_user(await _present(user), user.role)


async def update(user: User, body: UserUpdate) -> AuthUser:
    await _present(user)
    hashed = None
    if body.password is not None:
        _offered()
        passwords.check(body.password)
        hashed = await passwords.hashed(body.password)
    async with unit_of_work():
        if body.email is not None:
            await change_email(user, body.email, "body", "email")
        if body.data is not None and body.data.name is not UNSET:
            await queries.set_name(user.id, rules.clean_name(body.data.name))
        if hashed is not None:
            await queries.set_password(user.id, hashed, user.session_id)
    return await get(user)


async def sign_out(user: User, scope: Scope) -> None:
    if scope != "local" or user.session_id is not None:
        await queries.end_sessions(user.id, user.session_id, scope)


async def _present(user: User) -> Login:
    login = await queries.by_id(user.id, user.session_id)
    if login is None or not login.session_alive:
        raise SessionNotFound
    return login


# --- administrators


async def create_user(admin: User, body: AdminUserBody) -> AuthUser:
    _offered()
    if not admin.is_admin:
        raise AdminRequired
    return auth_user(await _create(body.email, body.password, body.user_metadata, body.role))


async def get_user(admin: User, user_id: str) -> AuthUser:
    if not admin.is_admin:
        raise AdminRequired
    return auth_user(await _login(user_id))


async def set_role(email: str, role: str) -> str:
    user_id = await queries.set_role(email, role)
    if user_id is None:
        raise UserNotFound(f"Nobody has the address {email}")
    return user_id


# ---


async def _create(email: str, password: str | None, said: UserMetadata | None, role: str) -> Login:
    address = rules.checked_email(email, "body", "email").lower()
    if password is not None:
        passwords.check(password)
    name = rules.clean_name(said.name) if said is not None and said.name is not UNSET else None
    hashed = await passwords.hashed(password) if password is not None else None
    login = await queries.insert(new_id(), address, name, hashed, role)
    if login is None:
        raise UserExists
    return login


async def _login(user_id: str) -> Login:
    login = await queries.by_id(user_id) if user_id.isprintable() else None
    if login is None:
        raise UserNotFound
    return login


async def _opened(login: Login, known_hash: str | None = None, new_hash: str | None = None) -> Session:
    session_id = new_id()
    moment = await queries.open_session(login.id, session_id, known_hash, new_hash)
    if moment is None:
        raise CredentialsInvalid
    return _session(replace(login, last_sign_in_at=moment), session_id, 1)


def _session(login: Login, session_id: str, generation: int) -> Session:
    user = auth_user(login)
    claims = {
        "sub": user.id,
        "email": user.email,
        "role": user.role,
        "user_metadata": user.user_metadata,
        "session_id": session_id,
    }
    seconds = int(signing.TTL.total_seconds())
    return Session(
        access_token=signing.sign(claims, timedelta(seconds=seconds)),
        expires_in=seconds,
        expires_at=int(time.time()) + seconds,
        refresh_token=_written(session_id, generation),
        user=user,
    )


def auth_user(login: Login, role: str | None = None) -> AuthUser:
    """`role` is what a token says, for users whose role is not ours to know."""
    members = {"name": login.name} if login.name else {}
    confirmed = login.created_at if login.email and login.email_verified else None
    return AuthUser(
        id=login.id,
        aud=get_settings().jwt_audience,
        role=login.role or role or AUTHENTICATED,
        email=login.email or "",
        email_confirmed_at=confirmed,
        confirmed_at=confirmed,
        last_sign_in_at=login.last_sign_in_at,
        app_metadata={"provider": "email", "providers": ["email"]},
        user_metadata=members,
        created_at=login.created_at,
        updated_at=login.updated_at,
        new_email=login.pending_email or UNSET,
    )


def _written(session_id: str, generation: int) -> str:
    body = UUID(session_id).bytes + generation.to_bytes(4)
    return urlsafe_b64encode(body + keyring().mac(_PURPOSE, body)).decode()


def _read(token: str) -> tuple[str, int]:
    try:
        content = b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        raise RefreshTokenUnknown from None
    body, mac = content[:20], content[20:]
    if len(body) != 20 or not keyring().is_mac(_PURPOSE, body, mac):
        raise RefreshTokenUnknown
    return str(UUID(bytes=body[:16])), int.from_bytes(body[16:])
