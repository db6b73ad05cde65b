"""Watching many runs over server-sent events, whose positions know of runs that this client never heard of."""

from collections.abc import AsyncGenerator, AsyncIterator

import httpx2
import msgspec

from agentplat.client.errors import ClientError, ConnectionLost, refusal
from agentplat.client.models import Run, RunEvent
from agentplat.client.patience import Patience, unreachable

CONNECT_SECONDS = 10.0
# The platform says something every 15 seconds, so a connection that is silent for longer is dead.
SILENCE_SECONDS = 40.0
TRY_AGAIN = range(500, 600)

_runs = msgspec.json.Decoder(Run)


async def follow(
    http: httpx2.AsyncClient, path: str, position: str | None, seconds: float
) -> AsyncGenerator[RunEvent, None]:
    """Run events after `position`, for as long as somebody wants them. `seconds` of failures end it."""
    patience = Patience(seconds)
    while True:
        headers = {"Accept": "text/event-stream", **({} if position is None else {"Last-Event-ID": position})}
        timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        failure: ClientError = ConnectionLost(f"{http.base_url} closed the event stream")
        try:
            async with http.stream("GET", path, headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    failure = await _refused(answer, path)
                    if answer.status_code not in TRY_AGAIN:
                        raise failure
                else:
                    async for name, data in _events(answer):
                        patience.reset()
                        if data is not None:
                            position = name
                            yield _event(name, data)
                        elif name:
                            position = name
        except httpx2.HTTPError as error:
            failure = unreachable(str(http.base_url), error)
        await patience.after(failure)


async def _refused(answer: httpx2.Response, path: str) -> ClientError:
    try:
        body = msgspec.json.decode(await answer.aread())
    except msgspec.DecodeError:
        body = None
    return refusal(answer.status_code, path, body)


async def _events(answer: httpx2.Response) -> AsyncIterator[tuple[str, str | None]]:
    """Ids with data; the data is None for an event that only moves the position, and for comments."""
    identity, data = "", None
    async for line in answer.aiter_lines():
        if line.startswith("id:"):
            identity = line[3:].strip()
        elif line.startswith("data:"):
            data = line[5:].strip()
        elif not line:
            yield identity, data
            data = None


def _event(position: str, data: str) -> RunEvent:
    seq = int(position.rpartition("@")[2])
    return RunEvent(seq=seq, run=_runs.decode(data), raw=data.encode(), position=position)
