"""Ids are random UUIDs in their usual text form."""

import re
from uuid import uuid4

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def new_id() -> str:
    return str(uuid4())


def is_id(text: str) -> bool:
    return _UUID.fullmatch(text) is not None
