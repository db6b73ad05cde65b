"""Both servers as one thing: start, revive, stop."""

import time
from pathlib import Path

from msgspec import Struct

from agentplat.embedded import binaries
from agentplat.embedded.account import Account
from agentplat.embedded.errors import EmbeddedError
from agentplat.embedded.home import NEEDED_BYTES, Home, explain
from agentplat.embedded.postgres import Postgres
from agentplat.embedded.valkey import Valkey

# For so long a server is started again that dies while it starts: what killed it may do so more than once.
REVIVE_SECONDS = 20.0
PAUSE_SECONDS = 0.2


class Urls(Struct, frozen=True, kw_only=True):
    """None for a server that was not asked for."""

    database_url: str | None = None
    redis_url: str | None = None


class EmbeddedServices:
    """Owned by one process: its children die with it, however it ends."""

    def __init__(self, *, postgres: bool = True, valkey: bool = True, needed_bytes: int = NEEDED_BYTES) -> None:
        self._wanted = (postgres, valkey)
        self._needed_bytes = needed_bytes
        self._home: Home | None = None
        self._running: list[Postgres | Valkey] = []

    def start(self, path: Path) -> Urls:
        """Start what was asked for on that home, and return when it takes connections."""
        account = Account.choose()
        programs = binaries.locate(account)
        self._home = home = Home(path, account, self._needed_bytes)
        try:
            sockets = home.socket_directory()
            postgres = Postgres(home, programs, sockets) if self._wanted[0] else None
            valkey = Valkey(home, programs, sockets) if self._wanted[1] else None
            for service in (valkey, postgres):
                if service is not None:
                    self._running.append(service)
                    service.start()
        except OSError as error:
            self.stop()
            raise explain(error, path) from error
        except BaseException:
            self.stop()
            raise
        return Urls(database_url=postgres.url if postgres else None, redis_url=valkey.url if valkey else None)

    def pids(self) -> dict[str, int | None]:
        return {service.server.name: service.server.pid for service in self._running}

    def revive(self) -> list[str]:
        """Start again whatever died by itself, and say what that was. Raises when a server can't be brought back."""
        dead = [service for service in self._running if not service.server.alive()]
        for service in dead:
            try:
                _start_again(service)
            except OSError as error:
                raise EmbeddedError(
                    f"The embedded {service.server.name} died and can't be restarted: {error}"
                ) from error
        return [service.server.name for service in dead]

    def stop(self) -> None:
        while self._running:
            self._running.pop().stop()
        if self._home is not None:
            self._home.release()
            self._home = None

    def __enter__(self) -> "EmbeddedServices":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _start_again(service: Postgres | Valkey) -> None:
    give_up = time.monotonic() + REVIVE_SECONDS
    while True:
        try:
            service.start()
            return
        except EmbeddedError:
            if time.monotonic() > give_up:
                raise
            time.sleep(PAUSE_SECONDS)
