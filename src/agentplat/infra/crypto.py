"""Secrets that have to be read again are sealed with a key that is not in the database.

A sealed value is `version (1 byte) | key id (4) | nonce (12) | AES-256-GCM ciphertext and tag`. What it belongs to is
authenticated with it, so a value that is copied to another row does not open. The keys are AGENTPLAT_SECRET_KEYS, the
first of which seals; the others only open what was sealed before, until `agentplat secrets rotate` has gone over it.

A value that does not open is an error. It is never an empty value, which the next write would make permanent.
"""

import hmac
import os
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentplat.infra import keys
from agentplat.infra.errors import AppError
from agentplat.infra.settings import Settings, get_settings

VERSION = b"\x01"
ID_BYTES = 4
NONCE_BYTES = 12
# Where the key id stands in a sealed value, counted from 1 as SQL does.
ID_POSITION = 2
FILE = "secrets.key"


class DecryptionFailed(AppError):
    """A secret can't be read"""

    code = "decryption_failed"


class _Key:
    """What follows from one configured text. No two purposes share key material."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self.id = self.derive("id", ID_BYTES)
        self.cipher = AESGCM(self.derive("seal"))

    def derive(self, purpose: str, length: int = 32) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=f"agentplat/{purpose}".encode()).derive(self._text)


class Keyring:
    def __init__(self, texts: Sequence[str]) -> None:
        self._keys = {key.id: key for key in map(_Key, texts)}
        self._first = next(iter(self._keys.values()))
        self._mac_keys: dict[str, list[tuple[bytes, bytes]]] = {}

    @property
    def current(self) -> bytes:
        """The id of the key that seals."""
        return self._first.id

    def seal(self, plain: bytes, owner: str) -> bytes:
        """`owner` says what the value belongs to, for example table and row; opening needs the same."""
        nonce = os.urandom(NONCE_BYTES)
        head = VERSION + self._first.id
        return head + nonce + self._first.cipher.encrypt(nonce, plain, head + owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        head, nonce, rest = sealed[:5], sealed[5 : 5 + NONCE_BYTES], sealed[5 + NONCE_BYTES :]
        key = self._keys.get(head[1:]) if head[:1] == VERSION and len(nonce) == NONCE_BYTES else None
        if key is None:
            raise DecryptionFailed(
                f"No key in AGENTPLAT_SECRET_KEYS opens a secret of {owner}: it was sealed with {head[1:].hex() or '?'}"
            )
        try:
            return key.cipher.decrypt(nonce, rest, head + owner.encode())
        except InvalidTag:
            raise DecryptionFailed(f"A secret of {owner} was changed, or belongs elsewhere") from None

    def macs(self, purpose: str, data: bytes) -> list[bytes]:
        """Keyed hashes of `data`, one per key and the current key's first, each with the id of its key in front."""
        found = self._mac_keys.get(purpose)
        if found is None:
            found = [(key.id, key.derive(f"mac/{purpose}")) for key in self._keys.values()]
            self._mac_keys[purpose] = found
        return [key_id + hmac.digest(key, data, sha256) for key_id, key in found]

    def mac(self, purpose: str, data: bytes) -> bytes:
        return self.macs(purpose, data)[0]

    def is_mac(self, purpose: str, data: bytes, given: bytes) -> bool:
        """Whether `given` is a keyed hash of `data` under any of the keys."""
        return any(hmac.compare_digest(given, one) for one in self.macs(purpose, data))


@cache
def _keyring(texts: tuple[str, ...]) -> Keyring:
    return Keyring(texts)


@cache
def _kept(settings: Settings) -> tuple[str, ...]:
    text = keys.kept(settings.home / FILE, keys.new_secret, "AGENTPLAT_SECRET_KEYS")
    return tuple(text.split())


def keyring() -> Keyring:
    """The keys of this process, made on first use and kept in the home when none are configured."""
    settings = get_settings()
    return _keyring(settings.secret_keys or _kept(settings))


def add_key(settings: Settings) -> str | None:
    """Put a new key in front of the home's, for processes that start from now on.

    Where keys are configured, nothing is changed, and the new key is returned for whoever configures them.
    """
    new = keys.new_secret()
    if settings.secret_keys:
        return new
    path = settings.home / FILE
    present = keys.kept(path, keys.new_secret, "AGENTPLAT_SECRET_KEYS")
    keys.replace(path, f"{new}\n{present}\n")
    return None
