"""Files that users upload: taken in as a stream, kept until they expire, given out by links.

A file is announced by a row, then stored and scanned at once, and seen when both are done. What is left of an upload
that was cut off expires like everything else.
"""

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

from msgspec import Struct

from agentplat.files import queries, rules, scanning, storage
from agentplat.files.errors import FileNotFound, FileTooLarge, LinkInvalid, QuotaExceeded, TypeNotAllowed
from agentplat.files.form import FileForm
from agentplat.files.models import FileLink, StoredFile, UploadedFile
from agentplat.infra.clock import now
from agentplat.infra.crypto import keyring
from agentplat.infra.errors import BadValue
from agentplat.infra.ids import is_id, new_id
from agentplat.infra.settings import get_settings

MB = 1024 * 1024
# What a form may have around its file.
ROOM_BYTES = 64 * 1024
BATCH = 100
MOST_HOURS = 48
UNLIMITED = 2**63 - 1

_PURPOSE = "file-links"


class Download(Struct, frozen=True):
    """Bytes `start` up to, not including, `end` of a file; `partial` where somebody asked for just these."""

    file: StoredFile
    start: int
    end: int
    partial: bool
    content: AsyncIterator[bytes]


async def receive(
    user_id: str, body: AsyncIterator[bytes], content_type: str, length: int | None, hours: int
) -> UploadedFile:
    """Take a form's file in. Nothing of it stays when this raises."""
    if not 1 <= hours <= MOST_HOURS:
        raise BadValue("expiration_hours", f"expected 1 to {MOST_HOURS}")
    settings = get_settings()
    limit = settings.upload_limit_mb
    if length is not None and length > limit * MB + ROOM_BYTES:
        raise FileTooLarge(limit)
    form = FileForm(_limited(body, limit), content_type)
    part = await form.begin()
    name, kind = rules.upload_name(part.name), rules.upload_type(part.content_type)
    if not rules.is_allowed(kind, settings.upload_types):
        raise TypeNotAllowed(f"Files of the type {kind} can't be uploaded")
    file_id, digest, size, used = new_id(), hashlib.sha256(), 0, 0
    quota = settings.upload_quota_mb * MB or UNLIMITED

    async with scanning.scan(settings) as scan:

        async def content() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in form.content():
                size += len(chunk)
                if size > limit * MB:
                    raise FileTooLarge(limit)
                if used + size > quota:
                    raise QuotaExceeded(settings.upload_quota_mb)
                digest.update(chunk)
                if scan is not None:
                    await scan.feed(chunk)
                yield chunk
            if scan is not None:
                # Before the storage has heard the end, so that what is refused was never there.
                await scan.finish()

        used = await queries.announce(user_id, file_id, name, kind, hours)
        try:
            await storage.put(file_id, content())
        except Exception:
            await queries.remove([file_id])
            raise
    if not (done := await queries.finish(file_id, size, digest.digest(), quota)):
        await storage.delete(file_id)
        if done is None:
            raise FileNotFound
        await queries.remove([file_id])
        raise QuotaExceeded(settings.upload_quota_mb)
    return UploadedFile(
        file_id=file_id,
        file_uri=rules.upload_uri(file_id, name),
        file_name=name,
        size=size,
        content_type=kind,
        expires_in_hours=hours,
    )


async def _limited(body: AsyncIterator[bytes], megabytes: int) -> AsyncIterator[bytes]:
    """Whatever is in the form besides the file counts as well."""
    taken = 0
    async for chunk in body:
        taken += len(chunk)
        if taken > megabytes * MB + ROOM_BYTES:
            raise FileTooLarge(megabytes)
        yield chunk


async def find(user_id: str, file_id: str) -> StoredFile:
    found = await queries.find(user_id, file_id) if is_id(file_id) else None
    if found is None:
        raise FileNotFound
    return found


async def link(user_id: str, file_id: str, seconds: int) -> FileLink:
    """A link to a file of the user's, good for so long, or until the file expires."""
    file = await find(user_id, file_id)
    expires_at = min(now() + timedelta(seconds=seconds), file.expires_at).replace(microsecond=0)
    moment = int(expires_at.timestamp())
    mac = keyring().mac(_PURPOSE, _signed(file_id, moment))
    signature = base64.urlsafe_b64encode(mac).decode()
    return FileLink(url=f"/api/files/{file_id}/content?expires={moment}&signature={signature}", expires_at=expires_at)


async def open_link(file_id: str, expires: int, signature: str, wanted: str | None) -> Download:
    """What a link leads to. `wanted` is the request's `Range`."""
    try:
        given = base64.urlsafe_b64decode(signature.encode("ascii"))
    except (binascii.Error, UnicodeEncodeError):
        raise LinkInvalid from None
    # Decoding passes over what is not in its alphabet, and a link that was changed is none.
    if base64.urlsafe_b64encode(given).decode() != signature:
        raise LinkInvalid
    if not keyring().is_mac(_PURPOSE, _signed(file_id, expires), given) or expires <= now().timestamp():
        raise LinkInvalid
    file = await queries.find_linked(file_id)
    if file is None:
        raise FileNotFound
    asked = rules.asked_range(wanted, file.size)
    start, end = asked or (0, file.size)
    return Download(file, start, end, asked is not None, await storage.read(file_id, start, end))


async def remove_expired() -> None:
    """Content first: what was interrupted in between is found again. Any number of processes may do it at once."""
    while ids := await queries.expired(BATCH):
        for file_id in ids:
            await storage.delete(file_id)
        await queries.remove(ids)


def _signed(file_id: str, expires: int) -> bytes:
    return f"{file_id} {expires}".encode()
