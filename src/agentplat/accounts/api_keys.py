"""Keys for programs.

A key has 256 random bits, so guessing one is hopeless however fast a guess is checked, and the slow hashes that protect
passwords would protect nothing. What has to be prevented is that a copy of the database lets anybody check or use keys:
that is done by a keyed hash, whose own key is not in the database.
"""

import asyncio
import secrets
from contextvars import Context
from datetime import UTC, datetime

from msgspec.structs import replace

from agentplat.accounts import rules
from agentplat.accounts.errors import (
    ApiKeyInvalid,
    ApiKeyNotFound,
    ApiKeyRevoked,
    ExpiryInvalid,
    ExpiryTooFar,
    NameEmpty,
    PermissionMissing,
    TooManyApiKeys,
)
from agentplat.accounts.models import (
    ApiKeyBody,
    ApiKeyInfo,
    ApiKeyStatus,
    CreatedApiKey,
    Permission,
    PermissionsBody,
    User,
)
from agentplat.accounts.queries import api_keys as queries
from agentplat.infra.clock import now
from agentplat.infra.crypto import keyring
from agentplat.infra.ids import is_id, new_id
from agentplat.infra.telemetry import get_logger

PREFIX = "agpt_"
SHOWN = 8
LENGTH = len(PREFIX) + 43
# Of one user, and as many as the contract lists.
MOST = 500

_PURPOSE = "api-keys"

_log = get_logger(__name__)
# Uses that are being written down, by key.
_noting: dict[str, asyncio.Task[None]] = {}


async def create(user: User, body: ApiKeyBody) -> CreatedApiKey:
    cleaned = replace(
        body,
        name=rules.clean_text(body.name),
        description=None if body.description is None else rules.clean_text(body.description),
        expires_at=None if body.expires_at is None else _end(body.expires_at),
    )
    if not any(map(rules.is_visible, cleaned.name)):
        raise NameEmpty.at("body", "name")
    key = PREFIX + secrets.token_urlsafe(32)
    hashed = keyring().mac(_PURPOSE, key.encode())
    stored = await queries.insert(user.id, new_id(), cleaned, key[:SHOWN], key[-SHOWN:], hashed, MOST)
    if stored is None:
        raise TooManyApiKeys
    return CreatedApiKey(api_key=stored, plain_text_key=key)


def _end(wanted: datetime) -> datetime:
    """When a key ends, as UTC has it."""
    if wanted <= now():
        raise ExpiryInvalid.at("body", "expires_at")
    try:
        return wanted.astimezone(UTC)
    except OverflowError:
        raise ExpiryTooFar.at("body", "expires_at") from None


async def list_(user: User) -> list[ApiKeyInfo]:
    """The newest first."""
    return await queries.list_of_user(user.id, MOST)


async def get(user: User, key_id: str) -> ApiKeyInfo:
    found = await queries.get(user.id, key_id) if is_id(key_id) else None
    if found is None:
        raise ApiKeyNotFound
    return found


async def revoke(user: User, key_id: str) -> ApiKeyInfo:
    found = await queries.revoke(user.id, key_id) if is_id(key_id) else None
    if found is None:
        raise ApiKeyNotFound
    return found


async def suspend(user: User, key_id: str) -> ApiKeyInfo:
    return await _change(user, key_id, status=ApiKeyStatus.SUSPENDED)


async def resume(user: User, key_id: str) -> ApiKeyInfo:
    return await _change(user, key_id, status=ApiKeyStatus.ACTIVE)


async def set_permissions(user: User, key_id: str, body: PermissionsBody) -> ApiKeyInfo:
    return await _change(user, key_id, permissions=body.permissions)


async def _change(
    user: User, key_id: str, status: ApiKeyStatus | None = None, permissions: list[Permission] | None = None
) -> ApiKeyInfo:
    changed = await queries.change(user.id, key_id, status, permissions) if is_id(key_id) else None
    if changed is None:
        # Not there, not theirs, or revoked: only its owner gets to know the last.
        await get(user, key_id)
        raise ApiKeyRevoked
    return changed


async def user_of(key: str, permission: Permission) -> User:
    """Whose key it is, if it is good for this: one hash and one lookup by index. Once a minute its use is
    written down, which nobody waits for."""
    if len(key) != LENGTH or not key.startswith(PREFIX) or not key.isascii():
        raise ApiKeyInvalid
    hashes = keyring().macs(_PURPOSE, key.encode())
    found = await queries.by_hash(hashes)
    if found is None or not found.usable:
        raise ApiKeyInvalid
    if permission not in found.permissions:
        raise PermissionMissing(f"Missing required permission: {permission}")
    if found.stale:
        _note_use(found.id, hashes[0])
    return found.user


def _note_use(key_id: str, hash_: bytes) -> None:
    """In a context of its own, so that it counts as no part of the request."""
    if key_id not in _noting:
        task = asyncio.get_running_loop().create_task(_written(key_id, hash_), context=Context())
        _noting[key_id] = task
        task.add_done_callback(lambda _: _noting.pop(key_id, None))


async def _written(key_id: str, hash_: bytes) -> None:
    try:
        await queries.touch(key_id, hash_)
    except Exception as error:
        # Whoever used the key has their answer, and its next use is written down just as well.
        _log.warning("key_use_not_noted", key_id=key_id, reason=type(error).__name__)


async def forget_uses() -> None:
    """Give up what isn't written down yet: before the database is closed."""
    for task in (waiting := list(_noting.values())):
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def count_old() -> int:
    """Keys whose hash needs another key than the current one."""
    return await queries.count_under_other_keys(keyring().current, now())
