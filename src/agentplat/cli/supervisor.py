"""The whole platform on one machine: servers, schema, API, worker. One object that starts it all and stops it all.

Use it from the main thread: on Linux the children die with the *thread* that started them.
"""

import asyncio
import errno
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import msgspec

from agentplat.cli.children import Child
from agentplat.embedded import EmbeddedServices, HomeInUse
from agentplat.infra.errors import AppError, ConfigError, Unavailable
from agentplat.infra.migrate import migrate
from agentplat.infra.settings import Settings

READY_SECONDS = 60.0
WATCH_SECONDS = 0.1
# The commands that say when they are ready.
SAYING = ("worker", "scheduler")
STATE = "platform.json"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What `platform.json` in the home says about the platform that runs on it."""

    pid: int
    url: str
    database_url: str
    redis_url: str


class Platform:
    """`with Platform(settings) as platform:` everything runs, `platform.url` answers.

    `scheduler` adds a scheduler, for a platform that is there to stay: others would fire what they find and be gone.
    `fake_llm` adds the deterministic model and points the worker to it. `quiet` sends the children's output to
    log files in the home. `progress` is told what is being done. `env` adds to the children's environment.
    Unless `announce` is false, `running` finds it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        fake_llm: bool = False,
        workers: int = 1,
        scheduler: bool = False,
        quiet: bool = False,
        progress: Callable[[str], None] = lambda _: None,
        env: Mapping[str, str] | None = None,
        announce: bool = True,
    ) -> None:
        self.settings = settings
        self.fake_llm = fake_llm
        self.workers = workers
        self.scheduler = scheduler
        self.quiet = quiet
        self.announce = announce
        self.progress = progress
        self.env: dict[str, str] = {**os.environ, **(env or {})}
        self.migrated: list[str] = []
        self.children: list[Child] = []
        self._services = EmbeddedServices(postgres=settings.database_url is None, valkey=settings.redis_url is None)
        self._watching = threading.Lock()
        self._stopping = False
        self._ended = threading.Event()
        self._broken: AppError | None = None
        self._watcher: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{reachable_host(self.settings.host)}:{self.settings.port}"

    @property
    def ws_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/ws"

    def __enter__(self) -> "Platform":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def child(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    def wait(self) -> None:
        """Until a signal's exception interrupts it; raises when something broke that can't be restarted."""
        while not self._ended.wait(1.0):
            if self._broken is not None:
                raise self._broken

    def _start(self) -> None:
        check_port(self.settings.host, self.settings.port)
        self._start_services()
        self.progress("Updating the database schema")
        self.migrated = asyncio.run(migrate(self.settings))
        self._export()
        self.progress("Starting the API server and the worker")
        if self.fake_llm:
            self._start_fake_llm()
        self._spawn("server", "server")
        for number in range(self.workers):
            port = self.settings.worker_metrics_port
            metrics = () if port is None else ("--metrics-port", str(port + number))
            self._spawn("worker" if self.workers == 1 else f"worker-{number + 1}", "worker", *metrics)
        if self.scheduler:
            self._spawn("scheduler", "scheduler")
        self._wait_ready()
        if self.announce:
            self._write_state()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def _start_services(self) -> None:
        if self.settings.database_url and self.settings.redis_url:
            return
        self.progress(f"Starting Postgres and Valkey in {self.settings.home}")
        try:
            urls = self._services.start(self.settings.home)
        except HomeInUse as error:
            if (other := running(self.settings)) is not None:
                error.hint = f"{other.url} answers there. {error.hint}"
            raise
        self.settings = msgspec.structs.replace(
            self.settings,
            database_url=self.settings.database_url or urls.database_url,
            redis_url=self.settings.redis_url or urls.redis_url,
        )

    def _export(self) -> None:
        settings = self.settings
        self.env |= {
            "DATABASE_URL": settings.database_url or "",
            "REDIS_URL": settings.redis_url or "",
            "AGENTPLAT_HOME": str(settings.home),
            "AGENTPLAT_HOST": settings.host,
            "AGENTPLAT_PORT": str(settings.port),
            "JWT_VERIFY_KEY": settings.jwt_verify_key or "",
            "JWT_SIGN_KEY": settings.jwt_sign_key or "",
        }

    def _start_fake_llm(self) -> None:
        port = free_port()
        self._spawn("fake-llm", "fake-llm", "--port", str(port))
        self.env |= {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "fake-llm"}

    def _spawn(self, name: str, *arguments: str) -> None:
        log = self.settings.home / f"{name}.log" if self.quiet else None
        child = Child(name, arguments, dict(self.env), log)
        self.children.append(child)
        child.start()

    def _wait_ready(self) -> None:
        """The server shows it by answering; the others have to say it."""
        give_up = time.monotonic() + READY_SECONDS
        while not (all(child.ready for child in self.children if child.arguments[0] in SAYING) and _answers(self.url)):
            for child in self.children:
                if child.status is not None:
                    raise Unavailable(f"The {child.name} did not start: {child.last_words()}")
            if time.monotonic() > give_up:
                raise Unavailable(f"The API server and the worker were not ready within {READY_SECONDS:.0f} s")
            time.sleep(0.02)

    def _watch(self) -> None:
        """Restarts what ended. Lives until everything is stopped: its end would be that of what it restarted."""
        while not self._ended.wait(WATCH_SECONDS):
            with self._watching:
                if self._stopping or self._broken is not None:
                    continue
                try:
                    for name in self._services.revive():
                        self.progress(f"Restarted {name}, which had ended by itself")
                except AppError as error:
                    self._broken = error
                    continue
                for child in self.children:
                    status = child.status
                    if child.restart_when_due():
                        self.progress(f"Restarted the {child.name}, which had ended with status {status}")

    def _write_state(self) -> None:
        state = Running(
            pid=os.getpid(),
            url=self.url,
            database_url=self.settings.database_url or "",
            redis_url=self.settings.redis_url or "",
        )
        path = self.settings.home / STATE
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{STATE}.{os.getpid()}")
        # Readable by its owner alone, because the addresses may hold passwords.
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(state))
        draft.replace(path)

    def stop(self) -> None:
        """Stop everything, in order, and return when nothing is left. Harmless when called twice."""
        with self._watching:
            self._stopping = True
        path = self.settings.home / STATE
        if (state := _read_state(self.settings)) and state.pid == os.getpid():
            path.unlink(missing_ok=True)
        for child in self.children:
            child.signal(signal.SIGTERM)
        for child in self.children:
            child.wait()
        self._services.stop()
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()


def running(settings: Settings) -> Running | None:
    """The platform that runs on this home, if there is one and it answers."""
    state = _read_state(settings)
    return state if state is not None and _answers(state.url) else None


def _read_state(settings: Settings) -> Running | None:
    try:
        return msgspec.json.decode((settings.home / STATE).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def _answers(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable_host(host: str) -> str:
    """An address to connect to, for one that was given to listen on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken. The server itself would share it silently (SO_REUSEPORT)."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise ConfigError(f"AGENTPLAT_HOST={host!r} is not an address of this machine: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} on {host} is taken by another program.",
                hint="Stop that program, or choose another port with AGENTPLAT_PORT or --port.",
            ) from error
        raise ConfigError(f"{host}:{port} can't be listened on: {error.strerror}") from error


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once: what then stops everything is not interrupted again."""
    seen = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if not seen:
            seen = True
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Any] = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
