"""Bodies go from bytes straight into the struct that a handler asks for.

Litestar's own way parses to dictionaries first and converts them after; this needs one pass, is strict about types, and
knows the exact place of whatever is wrong.
"""

from array import array
from functools import cache
from itertools import accumulate
from typing import Any

import msgspec
from litestar import Request

from agentplat.server.errors import MAX_NESTING, invalid_body, too_deep


@cache
def _decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(annotation)


_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
# An opening bracket is a step down, a closing one (255, as a signed byte -1) a step up.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def is_too_deep(body: bytes) -> bool:
    """Whether well-formed JSON is nested beyond the limit. Only bulk operations, as bodies have up to megabytes."""
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return False
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(unescaped.translate(None, _ALL_BUT_STRUCTURE).split(b'"')[::2])
    return max(accumulate(array("b", brackets.translate(_STEPS))), default=0) > MAX_NESTING


class ApiRequest(Request[Any, Any, Any]):
    async def json(self) -> Any:
        body = await self.body()
        parameter = self.route_handler.parsed_fn_signature.parameters.get("data")
        decoder = _decoder(parameter.annotation if parameter else Any)
        try:
            # Text that no field keeps is skipped by the decoder without a look.
            if not body.isascii():
                body.decode()
            decoded = decoder.decode(body or b"null")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # How deep the decoder goes before it gives up depends on the process; the limit does not.
            raise (too_deep() if is_too_deep(body) else invalid_body(error, body)) from None
        if is_too_deep(body):
            raise too_deep()
        return decoded
