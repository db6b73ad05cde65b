"""Which account the servers run as. Postgres refuses to be root, so root borrows an unprivileged one."""

import os
import pwd
import stat
from pathlib import Path

from agentplat.embedded.errors import EmbeddedError

# The first that exists: one made for us, one made for Postgres, one that every system has.
CANDIDATES = ("agentplat", "postgres", "_postgres", "nobody")


class Account:
    """`borrowed` when it is not the account of this process."""

    def __init__(self, uid: int, gid: int, name: str, *, borrowed: bool) -> None:
        self.uid = uid
        self.gid = gid
        self.name = name
        self.borrowed = borrowed

    @classmethod
    def choose(cls) -> "Account":
        if os.geteuid() != 0:
            uid = os.geteuid()
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError as error:
                raise EmbeddedError(
                    f"The account with the number {uid} has no name on this system, and Postgres insists on one.",
                    hint="Add it to /etc/passwd, or set DATABASE_URL and REDIS_URL to servers of your own.",
                ) from error
            return cls(uid, os.getegid(), name, borrowed=False)
        for name in CANDIDATES:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            if entry.pw_uid != 0:
                return cls(entry.pw_uid, entry.pw_gid, name, borrowed=True)
        raise EmbeddedError(
            "Postgres does not run as root, and this system has no unprivileged account to run it as.",
            hint="Create one (for example `useradd --system agentplat`), or start agentplat as another user.",
        )

    def give(self, path: Path) -> None:
        """Make a new directory this account's own, and nobody else's."""
        if self.borrowed:
            os.chown(path, self.uid, self.gid)
        path.chmod(0o700)

    def owns(self, path: Path) -> bool:
        try:
            status = path.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and status.st_uid == self.uid

    def can_reach(self, path: Path) -> bool:
        """Whether every directory down to `path`, itself included, lets this account pass."""
        if not self.borrowed:
            return True
        resolved = path.resolve()
        return all(self._may(directory.stat(), stat.S_IXOTH) for directory in (resolved, *resolved.parents))

    def can_read(self, path: Path) -> bool:
        return self.can_reach(path.parent) and self._may(path.stat(), stat.S_IROTH)

    def _may(self, status: os.stat_result, bit: int) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & bit << 6)
        if status.st_gid == self.gid:
            return bool(status.st_mode & bit << 3)
        return bool(status.st_mode & bit)
