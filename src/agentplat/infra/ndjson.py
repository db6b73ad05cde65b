"""Lists as NDJSON, one item per line, for operations on many things: easier to write and to read piece by piece."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request
from litestar.utils.scope.state import ScopeState

from agentplat.infra.errors import Invalid

NDJSON = "application/x-ndjson"
# A handler's `opt` names by it the member of its body, for the OpenAPI document. Its answer's is `results`.
LINES = "lines"
RESULTS = "results"

encode_lines = msgspec.json.Encoder().encode_lines
_any_value = msgspec.json.Decoder(msgspec.Raw)


def lines_as(member: str) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """For `before_request`: the lines of an NDJSON body become the list `member` of the JSON body that the handler asks
    for. Empty lines don't count."""

    async def convert(request: Request[Any, Any, Any]) -> None:
        if request.content_type[0] != NDJSON:
            return
        body = b"".join([chunk async for chunk in request.stream()])
        lines = [line for line in body.split(b"\n") if line.strip()]
        _check(member, lines)
        ScopeState.from_scope(request.scope).body = b'{"%s":[%s]}' % (member.encode(), b",".join(lines))

    return convert


def _check(member: str, lines: Sequence[bytes]) -> None:
    """Each line is one value; what it is, is checked where all of them are decoded."""
    for number, line in enumerate(lines):
        try:
            with suppress(RecursionError):  # met again then
                _any_value.decode(line)
        except msgspec.DecodeError as error:
            problem = {"type": "json_invalid", "loc": ["body", member, number], "msg": str(error)}
            raise Invalid(f"body.{member}.{number}: {error}", detail=[problem]) from None


def wants_lines(request: Request[Any, Any, Any]) -> bool:
    return NDJSON in request.headers.get("accept", "").lower()
