"""AGENTPLAT_HOME: one directory, one owner at a time.

Contents: `lock` (held while services run, names the process), `postgres/` (the data), `run/` (the sockets, or a link to
where they are), `*.log`, `*.pid` (to find servers that outlived their supervisor).
"""

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from agentplat.embedded.account import Account
from agentplat.embedded.errors import EmbeddedError, HomeInUse

# sockaddr_un has room for 104 (macOS) or 108 (Linux) bytes; the rest is for the longest name, `.s.PGSQL.5432.lock`.
LONGEST_SOCKET_DIRECTORY = 80
# A fresh cluster takes about 60 MB, and the first megabytes of journal as much again.
NEEDED_BYTES = 256 * 1024 * 1024


class Home:
    """The directory, created, locked and writable."""

    def __init__(self, path: Path, account: Account, needed_bytes: int = NEEDED_BYTES) -> None:
        self.path = path
        self.account = account
        self._lock: IO[str] | None = None
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            free = shutil.disk_usage(path).free
            if free < needed_bytes:
                raise EmbeddedError(
                    f"The disk of {path} is full: {free >> 20} MB are free, and {needed_bytes >> 20} MB are needed.",
                    hint="Free some space, or set AGENTPLAT_HOME to a directory on another disk.",
                )
            self._clear_sockets()
        except OSError as error:
            self.release()
            raise explain(error, path) from error
        except EmbeddedError:
            self.release()
            raise

    def _take_lock(self) -> None:
        # Opened for appending, so that a second process does not wipe the owner's pid before it knows there is one.
        lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise HomeInUse(
                f"{self.path} is in use by another agentplat, process {owner}.",
                hint=f"Stop that process (kill {owner}), or set AGENTPLAT_HOME to another directory.",
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def make_private(self, name: str) -> Path:
        """A directory in the home that only the servers' account, and root, can look into."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.account.give(path)
        return path

    def socket_directory(self) -> Path:
        """Private to the servers' account. Elsewhere than in the home when that is too long, or closed to them."""
        run = self.path / "run"
        if len(os.fsencode(run)) <= LONGEST_SOCKET_DIRECTORY and self.account.can_reach(self.path):
            return self.make_private("run")
        base = next(filter(_usable, ("/run", tempfile.gettempdir(), "/tmp")), None)
        directory = Path(tempfile.mkdtemp(prefix="agentplat-", dir=base))
        self.account.give(directory)
        run.symlink_to(directory)
        return directory

    def _clear_sockets(self) -> None:
        """Remove what a killed predecessor left. Only ever a directory of the servers' account is followed."""
        run = self.path / "run"
        if run.is_symlink():
            target = Path(os.readlink(run))
            if target.name.startswith("agentplat-") and self.account.owns(target):
                shutil.rmtree(target, ignore_errors=True)
            run.unlink()
        elif run.is_dir():
            shutil.rmtree(run)

    def release(self) -> None:
        if self._lock is not None:
            try:
                self._clear_sockets()
            finally:
                self._lock.truncate(0)
                self._lock.close()
                self._lock = None


def _usable(base: str) -> bool:
    return os.access(base, os.W_OK) and len(os.fsencode(base)) + len("/agentplat-12345678") <= LONGEST_SOCKET_DIRECTORY


def explain(error: OSError, path: Path) -> EmbeddedError:
    """An operating system's error as advice."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EmbeddedError(
            f"The disk of {path} is full.",
            hint="Free some space, or set AGENTPLAT_HOME to a directory on another disk.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return EmbeddedError(
            f"{error.filename or path} can't be written to: {error.strerror}.",
            hint="Set AGENTPLAT_HOME to a directory that this account can write to.",
        )
    return EmbeddedError(f"{error.filename or path}: {error.strerror}.")
