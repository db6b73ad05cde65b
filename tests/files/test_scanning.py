"""Uploads where there is a scanner: its verdict comes first, and without one nothing is taken in."""

import asyncio
import hashlib
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agentplat.infra.db import Database
from tests.support.api import Api
from tests.support.clamd import EICAR, clamd
from tests.support.processes import eventually, free_port
from tests.support.switches import environment_of
from tests.support.uploading import MB, kept, upload


@pytest.fixture
def scanned(storage: Path) -> Any:
    def settings(port: int, timeout: str = "5") -> Any:
        return environment_of(
            AGENTPLAT_FILES_URL=f"file://{storage}",
            CLAMAV_SERVICE_HOST="127.0.0.1",
            CLAMAV_SERVICE_PORT=str(port),
            CLAMAV_SERVICE_TIMEOUT=timeout,
        )

    return settings


async def test_every_byte_is_scanned_before_anybody_sees_it(api: Api, storage: Path, scanned: Any) -> None:
    content = bytes(range(256)) * 4096
    async with clamd() as one:
        with scanned(one.port):
            assert (await upload(api("ann"), content)).status_code == 200
            infected = await upload(api("ann"), b"x" * 70_000 + EICAR)
        assert one.seen == [content, b"x" * 70_000 + EICAR]
    assert (infected.status_code, infected.json()["code"]) == (400, "file_infected")
    assert "Eicar-Test-Signature" in infected.json()["message"]
    assert kept(storage) == [content]


@pytest.mark.parametrize(
    ("behaviour", "timeout"),
    [
        ({"reply": b"stream: Can't allocate memory ERROR\0"}, "5"),
        ({"reply": b"nonsense\0"}, "5"),
        ({"reply": b""}, "5"),
        ({"reply": b"x" * 10_000}, "5"),
        ({"limit": 100_000}, "5"),
        ({"silent": True}, "0.2"),
    ],
    ids=["error", "nonsense", "hangs up", "endless", "too large for it", "silent"],
)
async def test_what_can_not_be_scanned_is_not_taken(
    api: Api, db: Database, storage: Path, scanned: Any, behaviour: dict[str, Any], timeout: str
) -> None:
    async with clamd(**behaviour) as one:
        with scanned(one.port, timeout):
            response = await upload(api("ann"), b"x" * 3 * MB)
    assert (response.status_code, response.json()["code"]) == (503, "scan_failed")
    assert kept(storage) == []
    assert await db.fetchval("SELECT count(*) FROM files") == 0


async def test_without_the_scanner_nothing_is_taken(api: Api, storage: Path, scanned: Any) -> None:
    with scanned(free_port()):
        response = await upload(api("ann"), b"x")
    assert (response.status_code, response.json()["code"]) == (503, "scan_failed")
    assert kept(storage) == []


@pytest.mark.skipif(not shutil.which("clamd"), reason="clamd is not installed")
async def test_with_the_real_scanner(api: Api, storage: Path, scanned: Any, tmp_path: Path) -> None:
    signatures, port = tmp_path / "signatures", free_port()
    signatures.mkdir()
    # Its own database is hundreds of megabytes. One signature will do: hash, size and name.
    (signatures / "test.hdb").write_text(f"{hashlib.md5(EICAR).hexdigest()}:{len(EICAR)}:Eicar-Test\n")
    config = tmp_path / "clamd.conf"
    config.write_text(
        f"Foreground yes\nTCPAddr 127.0.0.1\nTCPSocket {port}\nDatabaseDirectory {signatures}\nStreamMaxLength 2M\n"
    )
    process = await asyncio.create_subprocess_exec("clamd", "-c", config, stdout=subprocess.DEVNULL)
    try:
        with scanned(port):
            await asyncio.to_thread(eventually, lambda: _listens(port))
            assert (await upload(api("ann"), b"harmless" * 1000)).status_code == 200
            assert (await upload(api("ann"), b"")).status_code == 200
            infected = await upload(api("ann"), EICAR)
            assert (infected.status_code, infected.json()["code"]) == (400, "file_infected"), infected.text
            beyond = await upload(api("ann"), b"x" * 6 * MB)
            assert (beyond.status_code, beyond.json()["code"]) == (503, "scan_failed")
    finally:
        process.kill()
        await process.wait()
    assert len(kept(storage)) == 2


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
