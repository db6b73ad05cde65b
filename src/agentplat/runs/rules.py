"""Pure decisions about requests for runs."""

import re

MAX_WAIT_SECONDS = 60

# The preference alone, or with a value and parameters; the value may stand in quotes.
_PREFERENCE = re.compile(r'\s*([^\s=;,"]+)\s*(?:=\s*("?)([^\s=;,"]*)\2\s*)?(?:;.*)?')


def wait_seconds(prefer: str | None) -> int | None:
    """How long a `Prefer` header (RFC 7240) asks to wait. None where it doesn't, or not in a way that makes sense.

    As the RFC has it, unknown and malformed preferences are ignored, and of repeated ones the first counts.
    """
    for preference in (prefer or "").split(","):
        found = _PREFERENCE.fullmatch(preference)
        if found is None or found[1].lower() != "wait":
            continue
        digits = found[3] or ""
        if not (digits.isascii() and digits.isdigit()):
            return None
        # Compared by length first: a number of thousands of digits is not worth parsing, and int() refuses to.
        return MAX_WAIT_SECONDS if len(digits.lstrip("0")) > 2 else min(int(digits), MAX_WAIT_SECONDS)
    return None
