"""Names and types of files, decided without touching a disk."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote
from uuid import uuid4

from agentplat.files.errors import RangeInvalid
from agentplat.files.models import StoredFile
from agentplat.sdk import BlockError

MAX_FILE_BYTES = 100 * 1024 * 1024
MAX_RUN_BYTES = 1024 * 1024 * 1024
# In bytes: no common file system takes more than 255.
_MAX_NAME = 200
_UNSAFE = re.compile(r'[<>:"/\\|?*\r\n\t\0\ud800-\udfff]')
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,60}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
# What stands for an uploaded file in the inputs of runs.
UPLOADS = "agentplat://files/"
_DATA_URI = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def safe_name(name: str) -> str:
    """A name that stays in its folder: whatever separates folders becomes `_`, long ones keep their extension."""
    clean = _UNSAFE.sub("_", name)
    if not clean.strip(". "):
        return f"file_{uuid4().hex[:8]}"
    if len(clean.encode()) > _MAX_NAME:
        stem, dot, extension = clean.rpartition(".")
        extension = f".{extension}" if dot and len(extension.encode()) < 20 else ""
        room = _MAX_NAME - len(extension.encode())
        clean = (stem if extension else clean).encode()[:room].decode(errors="ignore") + extension
    return clean


def read_data_uri(uri: str) -> tuple[str, bytes]:
    """MIME type and content."""
    match = _DATA_URI.fullmatch(uri)
    try:
        if match:
            return match[1], base64.b64decode(match[2], validate=True)
    except binascii.Error:
        pass
    raise BlockError("Invalid data URI format. Expected data:<mime>;base64,<data>")


def data_uri(name: str, content: bytes) -> str:
    mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def new_name(mime: str) -> str:
    return f"{uuid4()}{mimetypes.guess_extension(mime) or '.bin'}"


def upload_name(name: str | None) -> str:
    return safe_name("".join(char if char.isprintable() else "_" for char in name)) if name else "uploaded_file"


def upload_type(content_type: str | None) -> str:
    """What the client says, if it is a type at all. Nothing here depends on it being true."""
    return content_type if content_type and _TYPE.fullmatch(content_type) else "application/octet-stream"


def is_allowed(content_type: str, patterns: Iterable[str]) -> bool:
    allowed = [pattern.lower() for pattern in patterns]
    return not allowed or any(fnmatchcase(content_type, pattern) for pattern in allowed)


def upload_uri(file_id: str, name: str) -> str:
    return f"{UPLOADS}{file_id}/{quote(name, safe='')}"


def read_upload_uri(uri: str) -> tuple[str, str]:
    """The id of an uploaded file, and its name in the folder of a run: unique there, with the ending it had."""
    file_id, _, name = uri.removeprefix(UPLOADS).partition("/")
    return file_id, safe_name(f"{file_id}_{unquote(name)}")


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a `Range` asks for, as (first, behind the last). None for all of them: one range is understood,
    and whatever isn't may be ignored."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeInvalid(headers={"Content-Range": f"bytes */{size}"})
    return start, end


def download_headers(file: StoredFile, start: int, end: int, partial: bool) -> dict[str, str]:
    """Browsers save the file and do nothing else with it, whatever it says it is."""
    headers = {
        "Content-Type": file.content_type,
        "Content-Length": str(end - start),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Accept-Ranges": "bytes",
    }
    return headers | ({"Content-Range": f"bytes {start}-{end - 1}/{file.size}"} if partial else {})
