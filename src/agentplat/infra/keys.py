"""Keys that a machine makes for itself when it is given none, and keeps in its home."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from agentplat.infra.errors import ConfigError


def kept(path: Path, make: Callable[[], str], variable: str) -> str:
    """The content of `path`, made first if it isn't there. `variable` is what could be set instead of having a file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # Linked into place: of two processes that start at once, both read the same key.
            draft = _draft(path, make())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        key = path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"{variable} is not set, and a key can't be kept in {path.parent}: {error.strerror}",
            hint=f"Set {variable}, or AGENTPLAT_HOME to a directory that this account can write to.",
        ) from error
    if not key:
        raise ConfigError(f"{path} is empty; delete it to have a new key made")
    return key


def replace(path: Path, text: str) -> None:
    """Put `text` there at once or not at all, readable by its owner alone."""
    os.replace(_draft(path, text), path)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    return draft


def new_secret() -> str:
    return secrets.token_urlsafe(48)


def new_private_key() -> str:
    """A key pair for ES256, as PEM."""
    # Costs every command a while to import, and is needed once in the life of an installation.
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
