"""What may be an address or a time zone."""

import re
import unicodedata
from functools import cache
from zoneinfo import available_timezones

from agentplat.accounts.errors import EmailInvalid
from agentplat.accounts.models import MAX_NAME_LENGTH

# Whether an address exists only a mail can tell; this keeps out what can't be one.
_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\\\]]{1,64}@[^\s@\"(),:;<>\[\\\]]+\.[^\s@\"(),:;<>\[\\\].]+")
MAX_EMAIL_LENGTH = 254
# Control characters, halves of characters, ends of lines and paragraphs. What only looks like nothing stays: some
# languages need joiners, and so do many emoji.
_UNTEXT = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Names that the machine has for itself.
_NO_ZONES = frozenset({"localtime", "Factory"})


def checked_email(text: str, *loc: str) -> str:
    """The address without spaces around it. `loc` says where in the request it stood."""
    address = text.strip()
    if len(address) > MAX_EMAIL_LENGTH or not address.isprintable() or not _EMAIL.fullmatch(address):
        raise EmailInvalid.at(*loc)
    return address


def clean_text(text: str, kept: str = "\n\t") -> str:
    """What Postgres can hold: control characters go, lines stay."""
    return "".join(char for char in text if char in kept or unicodedata.category(char) not in _UNTEXT).strip()


def is_visible(char: str) -> bool:
    """What is left of a text that was cleaned may be spaces, or join and mark what isn't there."""
    return not char.isspace() and unicodedata.category(char) != "Cf"


def clean_name(text: str | None) -> str | None:
    """A name that Postgres can hold and a page can show."""
    return None if text is None else clean_text(text, kept="")[:MAX_NAME_LENGTH] or None


@cache
def timezones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONES
