import asyncio
import base64
from collections.abc import AsyncIterator
from functools import partial
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.files import rules, service
from agentplat.files.service import RunFiles
from agentplat.infra import outbound
from agentplat.infra.settings import Settings
from agentplat.sdk import BlockError
from tests.support.serving import serving


@pytest.fixture
async def files(settings: Settings) -> AsyncIterator[RunFiles]:
    one = RunFiles(f"run-{uuid4()}")
    yield one
    await service.discard(one.run_id)


async def test_data_uri_is_stored_and_read_back(files: RunFiles) -> None:
    name = await files.store("data:text/plain;base64,aGk=")
    assert name.endswith(".txt")
    assert await files.read(name) == b"hi"
    assert await files.store(name) == name
    assert await files.store(name, inline=True) == "data:text/plain;base64,aGk="


@pytest.mark.parametrize("uri", ["data:text/plain,hi", "data:;base64,aGk=", "data:text/plain;base64,a", "data:"])
async def test_other_data_uris_are_refused(files: RunFiles, uri: str) -> None:
    with pytest.raises(BlockError, match="Invalid data URI format"):
        await files.store(uri)


@pytest.mark.parametrize("name", ["missing.txt", "../secret", "/etc/passwd", "..", "", "a\0b"])
async def test_only_files_of_the_run(files: RunFiles, name: str) -> None:
    files.folder.mkdir(parents=True)
    (files.folder.parent / "secret").write_text("secret")
    with pytest.raises(BlockError, match="Local file does not exist"):
        await files.read(name)


async def test_links_are_not_followed(files: RunFiles) -> None:
    files.folder.mkdir(parents=True)
    (files.folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(BlockError, match="does not exist"):
        await files.read("link")


async def test_limits(files: RunFiles) -> None:
    files = RunFiles(files.run_id, max_file=10, max_run=15)
    small, large = (f"data:text/plain;base64,{base64.b64encode(b'x' * size).decode()}" for size in (10, 11))
    await files.store(small)
    with pytest.raises(BlockError, match="File too large"):
        await files.store(large)
    with pytest.raises(BlockError, match="Disk usage limit exceeded"):
        await files.store(small)


async def test_cloud_storage_is_refused_by_name(files: RunFiles) -> None:
    with pytest.raises(BlockError, match="cloud storage"):
        await files.store("gcs://bucket/file")


@given(st.text(max_size=300))
def test_names_stay_in_their_folder(name: str) -> None:
    safe = rules.safe_name(name)
    assert 0 < len(safe.encode()) <= 200
    assert "/" not in safe
    assert "\0" not in safe
    assert safe not in (".", "..")
    assert rules.safe_name(safe) == safe or not safe.strip(". ")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("字" * 150 + ".txt", "字" * 65 + ".txt"),
        ("x" * 196 + ".txt", "x" * 196 + ".txt"),
        ("ü" * 200, "ü" * 100),
        ("😀" * 60 + "." + "字" * 7, "😀" * 50),
        ("x" * 199 + "é", "x" * 199),
        ("a\ud800b", "a_b"),
    ],
)
def test_names_have_a_length_in_bytes(name: str, safe: str) -> None:
    assert rules.safe_name(name) == safe


@given(st.binary(max_size=50))
def test_data_uris_go_round(content: bytes) -> None:
    assert rules.read_data_uri(rules.data_uri("a.png", content)) == ("image/png", content)


@pytest.fixture
async def local_server() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret")
        await writer.drain()

    async with serving(answer) as port:
        yield f"http://127.0.0.1:{port}/file.txt"


async def test_own_network_cannot_be_fetched(files: RunFiles, local_server: str) -> None:
    for url in (local_server, local_server.replace("127.0.0.1", "localhost"), local_server.replace("127.0.0.1", "0")):
        with pytest.raises(BlockError, match="not on the public internet"):
            await files.store(url)


async def test_what_may_be_fetched_is_fetched(files: RunFiles, local_server: str) -> None:
    fetch = partial(outbound.fetch, may_reach=lambda address: address == "127.0.0.1")
    files = RunFiles(files.run_id, fetch=fetch)
    assert await files.store(local_server) == "file.txt"
    assert await files.read("file.txt") == b"secret"
    with pytest.raises(BlockError, match="File too large"):
        await RunFiles(files.run_id, fetch=fetch, max_file=5).store(local_server)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "100.64.0.1",
        ),
        *("192.0.0.1", "198.18.0.1", "255.255.255.255", "::1", "::", "fc00::1", "fe80::1%eth0", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "fec0::1"),
        *("2001::1", "::7f00:1", "168.63.129.16", "::ffff:168.63.129.16"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not outbound.is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "2002:101:101::1"]
)
def test_addresses_that_are(address: str) -> None:
    assert outbound.is_public(address)
