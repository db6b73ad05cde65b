"""Uploading files to a storage that a test can look into."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.switches import environment_of

MB = 1024 * 1024
UPLOAD = "/api/files/upload"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Path]:
    with environment_of(AGENTPLAT_FILES_URL=f"file://{tmp_path}/files"):
        yield tmp_path / "files"


def kept(storage: Path) -> list[bytes]:
    """The content of everything in the storage, finished or not."""
    return [path.read_bytes() for path in storage.rglob("*") if path.is_file()]


async def upload(
    client: httpx.AsyncClient, content: bytes, name: str = "a.txt", kind: str = "text/plain", **query: Any
) -> httpx.Response:
    return await client.post(UPLOAD, files={"file": (name, content, kind)}, params=query)


async def stored(
    client: httpx.AsyncClient, content: bytes = b"hello", name: str = "a.txt", **query: Any
) -> dict[str, Any]:
    response = await upload(client, content, name, **query)
    assert response.status_code == 200, response.text
    file: dict[str, Any] = response.json()
    return file
