"""The client itself: requests over HTTP, and where the streams begin."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx2
import msgspec
from msgspec.structs import replace

from agentplat.client.errors import ClientError, ConnectionLost, GaveUp, Refused, refusal
from agentplat.client.many import RunsWatch
from agentplat.client.models import Event, NewRun, Run, RunEvent, Snapshot
from agentplat.client.one import RunWatch
from agentplat.client.patience import Patience, unreachable
from agentplat.client.socket import EventSocket

# Until a large agent is checked and stored, or a stop has been carried out.
ANSWER_SECONDS = 60.0
# The longest that the platform lets one request wait for a run.
MOST_WAIT = 60
MOST_LISTED = 100
# Runs in one request.
MOST_AT_ONCE = 500
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Answers of something before the platform, or of a platform whose database is away: nothing was done.
AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

T = TypeVar("T")


class _Graph(msgspec.Struct, frozen=True):
    version: int


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _Page(msgspec.Struct, frozen=True):
    executions: list[_Listed]


class _Result(msgspec.Struct, frozen=True):
    status: int
    run: Run | None = None
    error: dict[str, Any] | None = None


class _Results(msgspec.Struct, frozen=True):
    results: list[_Result]


class AsyncClient:
    """`async with AsyncClient(url, token) as client`.

    What can be asked again without harm is, for `patience` seconds in which nothing answers: starting a run (under an
    idempotency key) as well as watching it. Raises Refused, ConnectionLost, GaveUp.
    """

    def __init__(self, url: str, token: str, *, patience: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.patience = patience
        self._graphs: dict[str, str] = {}
        try:
            # A proxy that the environment names is for the world outside, not for this machine.
            self.proxied = httpx2.URL(self.url).host not in LOOPBACK
        except httpx2.InvalidURL as error:
            raise ClientError(f"{url!r} is no URL: {error}") from error
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_SECONDS,
            trust_env=self.proxied,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def start(
        self,
        graph_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        credentials: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a run, exactly one, however often the connection breaks. Of the newest version if not told."""
        if version is None:
            version = (await self.ask("GET", f"/api/graphs/{graph_id}", _Graph)).version
        body = {"inputs": inputs or {}, "credentials_inputs": credentials or {}}
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return await self.ask(
            "POST", f"/api/graphs/{graph_id}/execute/{version}", Run, body, headers=headers, repeatable=True
        )

    async def get(self, run: str | Run) -> Run:
        """A run by its id, with outputs and node executions as far as it has come."""
        return await self.ask("GET", await self._path(run), Run)

    async def wait(self, run: str | Run, timeout: float | None = None) -> Run:
        """The run once it is final. Raises GaveUp when that takes longer than `timeout` seconds."""
        path = await self._path(run)
        give_up = None if timeout is None else monotonic() + timeout
        while True:
            left = MOST_WAIT if give_up is None else max(0.0, give_up - monotonic())
            headers = {"Prefer": f"wait={min(MOST_WAIT, int(left + 1))}"}
            found = await self.ask("GET", path, Run, headers=headers, seconds=ANSWER_SECONDS + MOST_WAIT)
            if found.final:
                return found
            if give_up is not None and monotonic() >= give_up:
                raise GaveUp(f"The run {found.id} is {found.status} after {timeout:g} s")

    async def stop(self, run: str | Run) -> Run:
        """Stop a run; how it stands after that. One that is over already stays as it is."""
        path = await self._path(run)
        await self.ask("POST", f"{path}/stop", msgspec.Raw, repeatable=True)
        return await self.ask("GET", path, Run)

    async def start_many(self, runs: Sequence[NewRun]) -> list[Run | Refused]:
        """Start many runs, in requests of up to 500. Each becomes one run, however often the connection breaks, or is
        refused for itself."""
        keyed = [replace(run, idempotency_key=run.idempotency_key or str(uuid4())) for run in runs]
        return await self._many("start", "runs", keyed)

    async def get_many(self, runs: Sequence[str | Run], *, outputs: bool = True) -> list[Run | Refused]:
        """Many runs without node executions; those that are final with their outputs."""
        return await self._many("read", "ids", _ids(runs), outputs=outputs)

    async def stop_many(self, runs: Sequence[str | Run]) -> list[Run | Refused]:
        """Stop many runs; how they stand after that."""
        return await self._many("stop", "ids", _ids(runs))

    async def _many(self, verb: str, name: str, items: Sequence[Any], **others: Any) -> list[Run | Refused]:
        path = f"/api/executions/bulk/{verb}"
        found: list[Run | Refused] = []
        for first in range(0, len(items), MOST_AT_ONCE):
            body = {name: items[first : first + MOST_AT_ONCE], **others}
            answer = await self.ask("POST", path, _Results, body, repeatable=True)
            found += [one.run or refusal(one.status, path, one.error) for one in answer.results]
        return found

    def watch(
        self,
        run: str | Run,
        last_event: int = 0,
        *,
        snapshot: bool = False,
        nodes: Sequence[str] | None = None,
        node_events: bool = True,
    ) -> AsyncGenerator[Event, None]:
        """Every event of a run after number `last_event`, in order, none twice, until its final one.

        With `snapshot` first how the run stands, then only what follows. `nodes` are the ids of the nodes whose events
        are wanted. A connection that breaks is made again, and the stream goes on with the next number.
        """
        run_id = run if isinstance(run, str) else run.id
        watch = RunWatch(run_id, last_event, snapshot=snapshot, nodes=nodes, node_events=node_events)
        return self._socket().follow(watch)

    async def watch_graph(
        self, graph_id: str, last_event: Mapping[str, int] | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        """Events of all runs of a graph from now on, for ever, without those of nodes.

        `last_event` has the number of the last known event of each run that is to be resumed, by run id.
        """
        await self.ask("GET", f"/api/graphs/{graph_id}", _Graph)  # an unknown one would just stay silent

        async def listed() -> list[str]:
            path = f"/api/graphs/{graph_id}/executions?page_size={MOST_LISTED}"
            return [run.id for run in (await self.ask("GET", path, _Page)).executions]

        watch = RunsWatch("subscribe_graph_executions", {"graph_id": graph_id}, last_event or {}, listed)
        async with aclosing(self._socket().follow(watch)) as events:
            async for event in events:
                yield event

    def watch_user(self, last_event: Mapping[str, int] | None = None) -> AsyncGenerator[RunEvent, None]:
        """The same of all runs of the user."""

        async def listed() -> list[str]:
            return [run.id for run in await self.ask("GET", "/api/executions", list[_Listed])]

        return self._socket().follow(RunsWatch("subscribe_user", {}, last_event or {}, listed))

    def _socket(self) -> EventSocket:
        return EventSocket(self.url, self.token, self.proxied, self.patience)

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
        repeatable: bool = False,
        patience: float | None = None,
    ) -> T:
        """Any request of the API, its answer decoded. `repeatable` ones, and all GETs, are sent again if need be."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        trying = Patience(self.patience if patience is None else patience)
        while True:
            try:
                answer = await self._http.request(method, path, content=content, headers=headers, timeout=seconds)
            except httpx2.TransportError as error:
                failure: ClientError = unreachable(self.url, error)
                if not (repeatable or method == "GET" or isinstance(error, httpx2.ConnectError)):
                    raise failure from error
            except httpx2.HTTPError as error:
                raise ConnectionLost(f"{method} {self.url}{path}: {error}") from error
            else:
                if not answer.is_error:
                    return self._decoded(answer, kind)
                failure = refusal(answer.status_code, answer.request.url.path, _json(answer.content))
                if answer.status_code not in AWAY:
                    raise failure
            await trying.after(failure)

    def _decoded(self, answer: httpx2.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            where = f"{answer.request.method} {answer.request.url.path}"
            raise Refused(answer.status_code, f"{self.url} is no agentplat: {where}: {error}") from error

    async def _path(self, run: str | Run) -> str:
        """Where a run is. The API has runs below their graphs; the first event of a run names its graph."""
        if isinstance(run, Run):
            return f"/api/graphs/{run.graph_id}/executions/{run.id}"
        if run not in self._graphs:
            async for event in self.watch(run, snapshot=True, node_events=False):
                assert isinstance(event, Snapshot)
                self._graphs = {run: event.run.graph_id}  # the last one asked for is the likeliest to be asked again
                break
        return f"/api/graphs/{self._graphs[run]}/executions/{run}"


def _ids(runs: Sequence[str | Run]) -> list[str]:
    return [run if isinstance(run, str) else run.id for run in runs]


def _json(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return None
