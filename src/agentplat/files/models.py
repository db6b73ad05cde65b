"""Uploaded files as the API shows them."""

from datetime import datetime

from msgspec import Struct


class UploadedFile(Struct, frozen=True, kw_only=True):
    """`file_uri` is what runs take for the file. `file_id` is not in the AutoGPT Platform's contract."""

    file_id: str
    file_uri: str
    file_name: str
    size: int
    content_type: str
    expires_in_hours: int


class FileLink(Struct, frozen=True, kw_only=True):
    """Who has the link has the file. `url` is relative to the API's address."""

    url: str
    expires_at: datetime


class StoredFile(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    content_type: str
    size: int
    expires_at: datetime
