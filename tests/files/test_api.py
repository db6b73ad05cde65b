"""Uploads over HTTP: what is taken in, what is refused and leaves nothing behind, and links."""

import asyncio
import hashlib
import time
from contextvars import Context
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from agentplat.files import service
from agentplat.files.service import RunFiles
from agentplat.infra.db import Database
from agentplat.sdk import BlockError
from tests.support.api import NOBODYS_ID, Api
from tests.support.conditions import until
from tests.support.locks import waiting
from tests.support.processes import eventually
from tests.support.switches import environment_of
from tests.support.uploading import MB, UPLOAD, kept, stored, upload

pytestmark = pytest.mark.usefixtures("storage")


async def test_a_file_is_taken_in(api: Api, db: Database, storage: Path) -> None:
    file = await stored(api("ann"), b"hello", expiration_hours=2, provider="s3")
    file_id = file.pop("file_id")
    assert file == {
        "file_uri": f"agentplat://files/{file_id}/a.txt",
        "file_name": "a.txt",
        "size": 5,
        "content_type": "text/plain",
        "expires_in_hours": 2,
    }
    assert kept(storage) == [b"hello"]
    row = await db.fetchrow("SELECT *, expires_at - created_at AS lasts FROM files")
    assert (row["user_id"], row["size"], row["sha256"]) == ("ann", 5, hashlib.sha256(b"hello").digest())
    assert row["lasts"].total_seconds() == 2 * 3600
    assert (await stored(api("ann"), b""))["size"] == 0
    assert (await stored(api("ann"), expiration_hours=48))["expires_in_hours"] == 48
    assert (await stored(api("ann")))["expires_in_hours"] == 24


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..", None),
        ("a\x1b[31m\u202egpj.exe", "a_[31m_gpj.exe"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
        ("Zürich & co.txt", "Zürich & co.txt"),
    ],
)
async def test_names_are_harmless(api: Api, given: str, name: str | None) -> None:
    file = await stored(api("ann"), name=given)
    assert file["file_name"] == name or (name is None and file["file_name"].startswith("file_"))
    link = (await api("ann").get(f"/api/files/{file['file_id']}/link")).json()["url"]
    assert (await api().get(link)).headers["content-disposition"].startswith("attachment; filename*=UTF-8''")


def raw(body: bytes, kind: str = "multipart/form-data; boundary=B") -> dict[str, Any]:
    return {"content": body, "headers": {"Content-Type": kind}}


PART = b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n'


async def test_what_a_part_does_not_say_has_defaults(api: Api) -> None:
    other = b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\nignored\r\n'
    response = await api("ann").post(UPLOAD, **raw(other + PART + other + b"--B--\r\n"))
    file = response.json()
    assert (file["file_name"], file["content_type"], file["size"]) == ("uploaded_file", "application/octet-stream", 1)


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (raw(b"--B--\r\n"), ["body", "file"]),
        (raw(PART + PART + b"--B--\r\n"), ["body", "file"]),
        (raw(PART), ["body"]),
        (raw(PART[:-3]), ["body"]),
        (raw(b""), ["body"]),
        (raw(b"nonsense" * 9000), ["body"]),
        (raw(PART.replace(b"file", b"\xff\xfe")), ["body"]),
        (raw(PART.replace(b"file", b"z") * 33 + PART + b"--B--\r\n"), ["body"]),
        (raw(PART.replace(b"name", b"x" * 9000 + b"; name")), ["body"]),
        (raw(b"{}", "application/json"), ["body"]),
        (raw(PART, "multipart/form-data"), ["body"]),
        ({"files": {"file": b"x"}, "params": {"expiration_hours": "many"}}, ["query", "expiration_hours"]),
    ],
)
async def test_other_forms_are_refused(
    api: Api, db: Database, storage: Path, request_: dict[str, Any], place: list[str]
) -> None:
    response = await api("ann").post(UPLOAD, **request_)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, place), response.text
    assert "Error" not in response.text, "that would be the parser's own words"
    assert kept(storage) == []
    assert await db.fetchval("SELECT count(*) FROM files") == 0


@pytest.mark.parametrize("hours", [-1, 0, 49, 10**30])
async def test_files_are_kept_for_up_to_two_days(api: Api, db: Database, storage: Path, hours: int) -> None:
    response = await upload(api("ann"), b"x", expiration_hours=hours)
    assert (response.status_code, response.json()["detail"]) == (400, "expiration_hours: expected 1 to 48")
    assert kept(storage) == []
    assert await db.fetchval("SELECT count(*) FROM files") == 0


async def test_nobody_uploads_without_a_token(api: Api, storage: Path) -> None:
    assert (await upload(api(), b"x")).status_code == 401
    assert kept(storage) == []


@pytest.mark.parametrize("size", [MB + 1, 8 * MB])
async def test_what_is_too_large_leaves_nothing(api: Api, db: Database, storage: Path, size: int) -> None:
    with environment_of(AGENTPLAT_FILES_URL=f"file://{storage}", UPLOAD_FILE_SIZE_LIMIT_MB="1"):
        assert (await upload(api("ann"), b"x" * MB)).status_code == 200
        response = await upload(api("ann"), b"x" * size)
        assert response.status_code == 413
        assert response.json()["detail"] == "File size exceeds the maximum allowed size of 1MB"
    assert [len(content) for content in kept(storage)] == [MB]
    assert await db.fetchval("SELECT count(*) FROM files") == 1


async def test_only_allowed_types(api: Api, storage: Path) -> None:
    with environment_of(AGENTPLAT_FILES_URL=f"file://{storage}", AGENTPLAT_UPLOAD_TYPES="text/csv,image/*"):
        for kind, status in (("text/csv", 200), ("IMAGE/png", 200), ("text/html", 415), ("nonsense", 415)):
            assert (await upload(api("ann"), b"x", kind=kind)).status_code == status, kind
    assert len(kept(storage)) == 2


async def test_a_disk_that_takes_nothing_fails_the_node(api: Api) -> None:
    """It is not taken for a database that is away, which a node would wait for."""
    file = await stored(api("ann"))
    files = RunFiles(f"run-{uuid4()}", "ann")
    files.folder.parent.mkdir(parents=True, exist_ok=True)
    files.folder.write_text("in the way")
    for source in (file["file_uri"], "data:text/plain;base64,aGk="):
        with pytest.raises(BlockError, match="The file can't be written: ") as refused:
            await files.store(source)
        assert str(files.folder.parent) not in str(refused.value)
    files.folder.unlink()


async def test_a_run_takes_a_name_of_any_length(api: Api) -> None:
    file = await stored(api("ann"), name="字" * 300 + ".csv")
    files = RunFiles(f"run-{uuid4()}", "ann")
    name = await files.store(file["file_uri"])
    assert name.endswith("字.csv")
    assert await files.read(file["file_uri"]) == b"hello"
    await service.discard(files.run_id)


# --- links


async def test_links_lead_to_the_file_and_nowhere_else(api: Api) -> None:
    ann = api("ann")
    file = await stored(ann, b"0123456789", "größe.html", expiration_hours=1)
    path = f"/api/files/{file['file_id']}/link"
    for client, place in ((api("bob"), path), (ann, f"/api/files/{NOBODYS_ID}/link"), (ann, "/api/files/%00/link")):
        response = await client.get(place)
        assert (response.status_code, response.json()["code"]) == (404, "file_not_found")
    assert (await api().get(path)).status_code == 401
    url = (await ann.get(path, params={"expires_in": 60})).json()["url"]
    response = await api().get(url)
    assert (response.status_code, response.content) == (200, b"0123456789")
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe.html"
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["x-content-type-options"] == "nosniff"
    other = await stored(ann, b"other")
    base, _, query = url.partition("?")
    expires = int(httpx.QueryParams(query)["expires"])
    for changed in (
        url.replace(file["file_id"], other["file_id"]),
        url.replace(str(expires), str(expires + 1)),
        url[:-6] + ("A" if url[-6] != "A" else "B") + url[-5:],
        f"{url}!",
        f"{url}====",
        url.replace("signature=", "signature=%0A"),
        f"{base}?expires={expires}&signature=%C3%A9",
        f"{base}?expires={expires}&signature=",
    ):
        refused = await api().get(changed)
        assert (refused.status_code, refused.json()["code"]) == (403, "link_invalid"), changed


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("bytes=5-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_range_of_a_file(api: Api, asked: str, status: int, content: bytes | None, said: str | None) -> None:
    file = await stored(api("ann"), b"0123456789")
    url = (await api("ann").get(f"/api/files/{file['file_id']}/link")).json()["url"]
    response = await api().get(url, headers={"Range": asked})
    assert (response.status_code, response.headers.get("content-range")) == (status, said)
    if content is not None:
        assert response.content == content
        assert response.headers["content-length"] == str(len(content))


async def test_a_condition_on_a_range_is_not_met(api: Api) -> None:
    file = await stored(api("ann"), b"0123456789")
    url = (await api("ann").get(f"/api/files/{file['file_id']}/link")).json()["url"]
    response = await api().get(url, headers={"Range": "bytes=2-4", "If-Range": '"of something else"'})
    assert (response.status_code, response.content) == (200, b"0123456789")


async def test_a_file_that_the_storage_has_lost_is_not_there(api: Api, storage: Path) -> None:
    file = await stored(api("ann"))
    url = (await api("ann").get(f"/api/files/{file['file_id']}/link")).json()["url"]
    (storage / "uploads" / file["file_id"]).unlink()
    response = await api().get(url)
    assert (response.status_code, response.json()["code"]) == (404, "file_not_found")


async def test_links_end(api: Api, db: Database) -> None:
    ann = api("ann")
    file = await stored(ann)
    short = (await ann.get(f"/api/files/{file['file_id']}/link", params={"expires_in": 1})).json()
    until = int(httpx.QueryParams(short["url"].partition("?")[2])["expires"])
    eventually(lambda: time.time() > until)
    assert (await api().get(short["url"])).status_code == 403
    long = (await ann.get(f"/api/files/{file['file_id']}/link")).json()["url"]
    await db.execute("UPDATE files SET expires_at = now()")
    assert (await api().get(long)).status_code == 404
    assert (await ann.get(f"/api/files/{file['file_id']}/link")).status_code == 404


async def test_what_has_expired_is_removed(api: Api, db: Database, storage: Path) -> None:
    ann = api("ann")
    gone, stays = await stored(ann, b"gone"), await stored(ann, b"stays")
    # An upload whose process was killed has a row and half a file, and one whose file is not there any more.
    await db.execute(
        "INSERT INTO files (id, name, content_type, expires_at)"
        " VALUES ('half', 'x', 'x/y', now()), ('none', 'x', 'x/y', now())"
    )
    (storage / "uploads" / "half#1").write_bytes(b"ha")
    await db.execute("UPDATE files SET expires_at = now() WHERE id = $1", gone["file_id"])
    await service.remove_expired()
    assert kept(storage) == [b"stays"]
    assert [row["id"] for row in await db.fetch("SELECT id FROM files")] == [stays["file_id"]]


async def usage(db: Database) -> int:
    """What is counted, which is what there is."""
    counted: int = await db.fetchval("SELECT COALESCE(sum(bytes), 0)::bigint FROM file_usage")
    assert counted == await db.fetchval("SELECT COALESCE(sum(size), 0)::bigint FROM files")
    return counted


async def test_all_files_of_a_user_have_a_limit_together(api: Api, db: Database, storage: Path) -> None:
    ann, bob = api("ann"), api("bob")
    with environment_of(AGENTPLAT_FILES_URL=f"file://{storage}", AGENTPLAT_UPLOAD_QUOTA_MB="1"):
        first = await stored(ann, b"x" * (MB - 5))
        refused = await upload(ann, b"y" * 6)
        assert (refused.status_code, refused.json()["code"]) == (413, "upload_quota_exceeded")
        await stored(ann, b"y" * 5)
        assert (await upload(ann, b"z")).status_code == 413
        await stored(bob, b"z")
        assert await usage(db) == MB + 1
        assert sorted(map(len, kept(storage))) == [1, 5, MB - 5]
        await db.execute("UPDATE files SET expires_at = now() WHERE id = $1", first["file_id"])
        await service.remove_expired()
        assert await usage(db) == 6
        await stored(ann, b"x" * (MB - 5))
    with environment_of(AGENTPLAT_FILES_URL=f"file://{storage}", AGENTPLAT_UPLOAD_QUOTA_MB="0"):
        await stored(ann, b"more")
    assert await usage(db) == MB + 5


async def test_uploads_at_once_do_not_exceed_the_limit_together(api: Api, db: Database, storage: Path) -> None:
    ann, half = api("ann"), MB // 2
    with environment_of(AGENTPLAT_FILES_URL=f"file://{storage}", AGENTPLAT_UPLOAD_QUOTA_MB="1"):
        await stored(ann, b"")
        async with db.transaction() as connection:
            # Who ends waits here, so all have been let in before the first is counted.
            await connection.execute("SELECT FROM file_usage FOR UPDATE")
            uploads = [asyncio.create_task(upload(ann, b"x" * half), context=Context()) for _ in range(5)]
            await asyncio.create_task(until(lambda: all_wait(db, 5)), context=Context())
        answers = [(await one).status_code for one in uploads]
    assert sorted(answers) == [200, 200, 413, 413, 413]
    assert await usage(db) == 2 * half
    assert sorted(map(len, kept(storage))) == [0, half, half]


async def all_wait(db: Database, number: int) -> bool:
    return await waiting(db) == number
