"""Names and types of files, decided without touching a disk."""

import base64
import binascii
import mimetypes
import re
from uuid import uuid4

from agentplat.sdk import BlockError

MAX_FILE_BYTES = 100 * 1024 * 1024
MAX_RUN_BYTES = 1024 * 1024 * 1024
_MAX_NAME = 200
_UNSAFE = re.compile(r'[<>:"/\\|?*\r\n\t\0]')
_DATA_URI = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def safe_name(name: str) -> str:
    """A name that stays in its folder: whatever separates folders becomes `_`, long ones keep their extension."""
    clean = _UNSAFE.sub("_", name)
    if not clean.strip(". "):
        return f"file_{uuid4().hex[:8]}"
    if len(clean) > _MAX_NAME:
        stem, dot, extension = clean.rpartition(".")
        clean = (
            f"{stem[: _MAX_NAME - len(extension) - 1]}.{extension}"
            if dot and len(extension) < 20
            else clean[:_MAX_NAME]
        )
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
