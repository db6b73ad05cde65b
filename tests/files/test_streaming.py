"""Uploads through the real server: in its memory there is never more of them than a few parts, and runs have them."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from agentplat.cli.supervisor import Platform
from tests.support.client import User, executions
from tests.support.conditions import PATIENCE_SECONDS
from tests.support.drawing import draw

MB = 1024 * 1024
FILE_STORE = "cbb50872-625b-42f0-8203-a2ae78242d8a"
FILE_READ = "3735a31f-7e18-4aca-9e90-08a7120674bc"
SPREADSHEET = "acf7625e-d2cb-4941-bfeb-2819fc6fc015"
HEAD = b'--B\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
TAIL = b"\r\n--B--\r\n"


@pytest.fixture
async def ann(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(base_url, make_token(f"ann-{uuid4()}")) as one:
        yield one


@pytest.fixture
async def bob(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(base_url, make_token(f"bob-{uuid4()}")) as one:
        yield one


async def form(megabytes: int) -> AsyncIterator[bytes]:
    yield HEAD
    for _ in range(megabytes * 4):
        yield b"\xa5" * (MB // 4)
    yield TAIL


async def upload(user: User, content: Any) -> dict[str, Any]:
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    response = await user.http.post("/api/files/upload", content=content, headers=headers, timeout=120)
    assert response.status_code == 200, response.text
    file: dict[str, Any] = response.json()
    return file


def peaks() -> dict[int, int]:
    """The most memory that each process below this one has ever had, in bytes."""
    found = {}
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                found[process.pid] = int(line.split()[1]) * 1024
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process's memory")
async def test_a_large_file_is_never_whole_in_memory(ann: User, platform: Platform) -> None:
    await upload(ann, form(1))
    before = peaks()
    file = await upload(ann, form(200))
    assert file["size"] == 200 * MB
    grown = {pid: peak - before[pid] for pid, peak in peaks().items() if pid in before}
    assert len(grown) >= 3
    assert max(grown.values()) < 64 * MB
    link = (await ann.http.get(f"/api/files/{file['file_id']}/link")).json()["url"]
    size = 0
    async with httpx.AsyncClient(base_url=platform.url, timeout=120) as anybody, anybody.stream("GET", link) as answer:
        async for chunk in answer.aiter_bytes():
            size += len(chunk)
    assert size == 200 * MB
    assert max(peak - before[pid] for pid, peak in peaks().items() if pid in before) < 64 * MB


@pytest.mark.parametrize("announced", [True, False])
async def test_an_endless_upload_is_refused_while_it_comes(ann: User, announced: bool) -> None:
    """A client that never ends its body gets its answer all the same."""
    host, _, port = ann.url.removeprefix("http://").partition(":")
    length = "Content-Length: 999999999999" if announced else "Transfer-Encoding: chunked"
    loop = asyncio.get_running_loop()
    # No stream of asyncio: where writing fails, because the server has hung up, that drops the answer unread.
    with socket.create_connection((host, int(port))) as connection:
        connection.setblocking(False)
        head = (
            f"POST /api/files/upload HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ann.token}\r\n"
            f"Content-Type: multipart/form-data; boundary=B\r\n{length}\r\n\r\n"
        )
        await loop.sock_sendall(connection, head.encode())

        async def pour() -> None:
            chunk = HEAD + b"\xa5" * MB
            while True:
                sent = chunk if announced else f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n"
                await loop.sock_sendall(connection, sent)
                chunk = b"\xa5" * MB

        pouring = asyncio.create_task(pour())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await loop.sock_recv(connection, 4096)
            assert answer.split()[1] == b"413"
        finally:
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)


async def test_who_sends_a_file_that_is_refused_gets_to_read_why(ann: User) -> None:
    """Asyncio's clients read nothing more once they can't write any more, so nobody may hang up on them."""
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    for query, status in ({"expiration_hours": 0}, 400), ({}, 413):
        response = await ann.http.post(
            "/api/files/upload", content=form(300), params=query, headers=headers, timeout=120
        )
        assert response.status_code == status
    nobody = {**headers, "Authorization": "Bearer nonsense"}
    assert (await ann.http.post("/api/files/upload", content=form(20), headers=nobody)).status_code == 401
    assert (await ann.http.post("/api/graphs", content=form(20))).status_code == 413


async def test_runs_work_with_uploaded_files(ann: User, bob: User) -> None:
    uploaded = await ann.http.post("/api/files/upload", files={"file": ("t.csv", b"a,b\n1,2\n", "text/csv")})
    uri = uploaded.json()["file_uri"]
    drawing = draw(
        {
            "keep": (FILE_STORE, {"file_in": uri, "base_64": True}),
            "name": (FILE_STORE, {"file_in": uri}),
            "read": (FILE_READ, {}),
            "apart": (SPREADSHEET, {"file_input": uri}),
        },
        "name.file_out -> read.file_input",
    )
    graph, names = await ann.create(drawing)
    found = executions(await ann.finished(await ann.start(graph)), names)
    assert found["keep"][0][2] == {"file_out": ["data:text/csv;base64,YSxiCjEsMgo="]}
    assert found["name"][0][2]["file_out"][0].endswith("_t.csv")
    assert found["read"][0][2] == {"content": ["a,b\n1,2\n"]}
    assert found["apart"][0][2] == {"rows": [[{"a": "1", "b": "2"}]]}
    by_hand = await ann.http.post(f"/api/blocks/{SPREADSHEET}/execute", json={"file_input": uri})
    assert by_hand.json() == {"rows": [[{"a": "1", "b": "2"}]]}

    # Nobody else's runs have it, and a run says what it lacks.
    graph, names = await bob.create(drawing)
    found = executions(await bob.finished(await bob.start(graph)), names)
    for name in ("keep", "name", "apart"):
        ((status, _, output),) = found[name]
        assert status == "FAILED"
        assert "There is no uploaded file" in output["error"][0]
    refused = await bob.http.post(f"/api/blocks/{SPREADSHEET}/execute", json={"file_input": uri})
    assert (refused.status_code, "There is no uploaded file" in refused.text) == (400, True)
