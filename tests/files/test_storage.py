"""The services that may keep uploads in place of a folder, as our local one speaks for them."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from agentplat.files import storage
from agentplat.files.errors import FileNotFound, StorageUnavailable
from tests.support.buckets import Buckets, buckets
from tests.support.switches import environment_of

PIECE = b"0123456789abcdef" * 65_536


def variables(kind: str, url: str) -> dict[str, str]:
    """What an operator would set, but for the address, which is that of the real service where it is not given."""
    name = f"bucket-{uuid4()}"
    if kind == "s3":
        keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"}
        return keys | {"AGENTPLAT_FILES_URL": f"s3://{name}/in", "AWS_ENDPOINT": url, "AWS_ALLOW_HTTP": "true"}
    if kind == "gs":
        account = {
            "gcs_base_url": url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        return {"AGENTPLAT_FILES_URL": f"gs://{name}/in", "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}
    key = base64.b64encode(b"secret").decode()
    keys = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": key, "AZURE_ALLOW_HTTP": "true"}
    return keys | {"AGENTPLAT_FILES_URL": f"az://{name}/in", "AZURE_ENDPOINT": f"{url}/account"}


@pytest.fixture(params=["s3", "gs", "az"])
def kept(request: pytest.FixtureRequest) -> Iterator[Buckets]:
    with buckets() as one, environment_of(**variables(request.param, one.url)):
        yield one


async def pieces(number: int, fails: bool = False) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield PIECE
    if fails:
        raise ValueError("no more")


async def content(name: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in await storage.read(name, start, end)])


async def test_a_file_goes_there_in_parts_and_comes_back_in_ranges(kept: Buckets) -> None:
    storage.check()
    await storage.put("large", pieces(12))
    assert [path.rpartition("/in/")[2] for path in kept.objects] == ["uploads/large"]
    assert list(kept.objects.values()) == [PIECE * 12]
    assert kept.parts == 3
    assert await content("large", 0, 12 * len(PIECE)) == PIECE * 12
    assert await content("large", len(PIECE) - 2, len(PIECE) + 3) == b"ef012"
    assert await content("large", 5, 5) == b""
    await storage.put("small", pieces(1))
    for name in ("large", "small", "small"):
        await storage.delete(name)
    assert kept.objects == {}
    with pytest.raises(FileNotFound):
        await storage.read("large", 0, 1)


async def test_what_fails_leaves_no_file_there(kept: Buckets) -> None:
    with pytest.raises(ValueError, match="no more"):
        await storage.put("half", pieces(12, fails=True))
    assert kept.objects == {}


async def test_a_service_that_refuses_is_no_mistake_of_the_client(kept: Buckets) -> None:
    await storage.put("small", pieces(1))
    kept.away = True
    with pytest.raises(StorageUnavailable):
        await storage.put("other", pieces(1))
    with pytest.raises(StorageUnavailable):
        await storage.read("small", 0, 1)


@pytest.mark.parametrize(("kept", "scheme"), [("s3", "AWS4-HMAC-SHA256"), ("az", "SharedKey")], indirect=["kept"])
async def test_requests_are_signed(kept: Buckets, scheme: str) -> None:
    await storage.put("large", pieces(12))
    await content("large", 0, 1)
    await storage.delete("large")
    assert kept.credentials == {scheme}
