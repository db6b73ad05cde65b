"""Credentials: keeping users' own, offering the installation's, and handing both to blocks.

A user's are sealed one by one, each for its row, so two changes at once don't undo one another and a copied row doesn't
open. What does not open is an error. Signing in at providers (OAuth) is not there yet: such credentials are kept as
data, and are not refreshed.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from agentplat.infra.crypto import DecryptionFailed, keyring
from agentplat.infra.ids import new_id
from agentplat.infra.settings import get_settings
from agentplat.integrations import providers, queries, rules
from agentplat.integrations.errors import (
    CredentialsExist,
    CredentialsTooLarge,
    CredentialsUnavailable,
    ProviderUnknown,
    TooManyCredentials,
)
from agentplat.integrations.models import (
    NAME,
    ConfirmationNeeded,
    CredentialsBody,
    CredentialsDeleted,
    CredentialsSummary,
    Entry,
    ProgramCredentialsBody,
    ProviderInfo,
)
from agentplat.sdk import BlockSpec, Credentials

__all__ = [
    "SYSTEM_IDS",
    "CredentialsUnavailable",
    "acquire",
    "acquire_system",
    "all_providers",
    "create",
    "delete",
    "find",
    "get",
    "kind",
    "known_provider",
    "list_",
    "provider_names",
    "seal_anew",
    "system_providers",
]

# Of one user.
MOST = 1000
MAX_BYTES = 128 * 1024
BATCH = 500
MOST_TOLD = 20

# What the blocks that come with the platform work with, where nothing else is said.
SYSTEM_IDS: Mapping[str, str] = {"openai": providers.SYSTEM["openai"].id}

_NAME = re.compile(NAME)
_encode = msgspec.json.Encoder().encode
_decode: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


async def create(user_id: str, provider: str, body: CredentialsBody | ProgramCredentialsBody) -> Entry:
    """Keep credentials. What is returned, here and elsewhere, has no secret in it."""
    chosen = body.id if isinstance(body, CredentialsBody) else ""
    entry = rules.entry(chosen or new_id(), provider, body)
    if entry.id in providers.RESERVED:
        raise CredentialsExist
    plain = _encode(entry)
    if len(plain) > MAX_BYTES:
        raise CredentialsTooLarge(f"These credentials exceed the maximum allowed size of {MAX_BYTES} bytes")
    sealed = keyring().seal(plain, _owner(user_id, entry.id))
    if not await queries.insert(user_id, rules.summary(entry), sealed, MOST):
        raise CredentialsExist if await queries.find(user_id, [entry.id]) else TooManyCredentials
    return rules.masked(entry)


async def list_(user_id: str, provider: str | None = None) -> list[CredentialsSummary]:
    """The user's own, oldest first, and then the installation's."""
    system = (rules.summary(entry) for entry in _system().values())
    own = await queries.list_of_user(user_id, provider)
    return own + [shown for shown in system if provider in (None, shown.provider)]


async def get(user_id: str, provider: str, credentials_id: str) -> Entry:
    """One of the user's own. The installation's are nobody's to look at."""
    sealed = await queries.sealed(user_id, credentials_id, provider) if _could_exist(credentials_id) else None
    if sealed is None:
        raise CredentialsUnavailable(f"There are no credentials #{credentials_id} of {provider}")
    return rules.masked(_open(user_id, credentials_id, sealed))


async def delete(
    user_id: str, provider: str, credentials_id: str, force: bool
) -> CredentialsDeleted | ConfirmationNeeded:
    """Nothing needs to be confirmed yet, since nothing but runs works with credentials: `force` changes nothing."""
    kind = await queries.delete(user_id, provider, credentials_id) if _could_exist(credentials_id) else None
    if kind is None:
        raise CredentialsUnavailable(f"There are no credentials #{credentials_id} of {provider}")
    # Only a login is anything that its provider could take back, and nobody is asked to yet.
    return CredentialsDeleted(revoked=False if kind == "oauth2" else None)


# --- for graphs and runs


async def find(user_id: str, ids: Collection[str]) -> dict[str, CredentialsSummary]:
    """What kind of credentials these are, for those that the user may use. At most one statement."""
    system = _system()
    found = {one: rules.summary(system[one]) for one in ids if one in system}
    if own := [one for one in ids if one not in system and _could_exist(one)]:
        found |= {shown.id: shown for shown in await queries.find(user_id, own)}
    return found


async def acquire(user_id: str, credentials_id: str) -> Credentials:
    """The credentials themselves. Any number of nodes may use them at once."""
    if entry := _system().get(credentials_id):
        return rules.for_block(entry)
    sealed = await queries.sealed(user_id, credentials_id) if _could_exist(credentials_id) else None
    if sealed is None:
        raise CredentialsUnavailable(f"Credentials #{credentials_id} for user #{user_id} not found")
    return rules.for_block(_open(user_id, credentials_id, sealed))


async def acquire_for(user_id: str, spec: BlockSpec, data: Mapping[str, Any]) -> dict[str, Credentials]:
    """The credentials that a block's input refers to, by field.

    A link may have brought a reference that nobody has seen before, so what it leads to has to fit the field: else the
    key for one service could be had sent to another.
    """
    found = {}
    for name, field in spec.credentials.items():
        reference = data.get(name)
        if isinstance(reference, dict) and "id" in reference:
            given = await acquire(user_id, str(reference["id"]))
            if not field.takes(given.provider, kind(given)):
                raise CredentialsUnavailable(f"Credentials #{given.id} are not for '{name}'")
            found[name] = given
    return found


def acquire_system(provider: str) -> Credentials | None:
    """The installation's own at a provider, if it has any."""
    return next((rules.for_block(entry) for entry in _system().values() if entry.provider == provider), None)


def kind(credentials: Credentials) -> str:
    """`api_key`, `oauth2`, `user_password` or `host_scoped`."""
    return str(type(credentials).__struct_config__.tag)


# --- providers


def provider_names() -> list[str]:
    return list(providers.all_())


def system_providers() -> list[str]:
    """Providers that an installation may have credentials for, whether or not this one does."""
    return sorted(providers.SYSTEM)


def all_providers() -> list[ProviderInfo]:
    return list(providers.all_().values())


def known_provider(name: str) -> str:
    if name not in providers.all_():
        raise ProviderUnknown(f"There is no provider {name}")
    return name


# --- for the operator


async def seal_anew() -> int:
    """Seal what an older key sealed with the current one. The number of those. What does not open stays as it is, and
    is an error when all else is done: one that is damaged must not keep an old key in use for all others."""
    ring, count, after = keyring(), 0, ("", "")
    left: list[str] = []
    while batch := await queries.sealed_otherwise(ring.current, after, BATCH):
        changes = []
        for one in batch:
            owner = _owner(one.user_id, one.id)
            try:
                changes.append((one.user_id, one.id, one.sealed, ring.seal(ring.open(one.sealed, owner), owner)))
            except DecryptionFailed as error:
                left.append(str(error))
        await queries.replace_sealed(changes)
        count, after = count + len(changes), (batch[-1].user_id, batch[-1].id)
    if left:
        told = "\n".join(left[:MOST_TOLD])
        raise DecryptionFailed(f"{count} credentials were sealed anew, and {len(left)} can't be:\n{told}")
    return count


def _system() -> Mapping[str, Entry]:
    return providers.system_credentials(get_settings())


def _could_exist(credentials_id: str) -> bool:
    return _NAME.fullmatch(credentials_id) is not None


def _open(user_id: str, credentials_id: str, sealed: bytes) -> Entry:
    return _decode.decode(keyring().open(sealed, _owner(user_id, credentials_id)))


def _owner(user_id: str, credentials_id: str) -> str:
    return f"credentials {user_id} {credentials_id}"
