"""A running platform as any client sees it: REST and the event socket. Nothing here knows how it works inside."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec
from msgspec import Raw, Struct
from websockets.asyncio.client import ClientConnection, connect

from agentplat.infra.errors import AppError, BadRequest, Unavailable

# Until a large agent is checked and stored, or a stop has been carried out.
ANSWER_SECONDS = 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
FINAL = frozenset({"COMPLETED", "FAILED", "TERMINATED"})

T = TypeVar("T")


class Refused(AppError):
    """The platform refused the request. `problems` are the single things that are wrong, one line each."""

    def __init__(self, status: int, message: str, code: str = "refused", problems: list[str] | None = None) -> None:
        hint = None
        if status == HTTPStatus.UNAUTHORIZED:
            hint = "Give a token of that platform with --token or AGENTPLAT_TOKEN (`agentplat token` there prints one)."
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.problems = problems or []


class Node(Struct, frozen=True):
    id: str
    block_id: str
    input_default: dict[str, Any]
    metadata: dict[str, Any]


class GraphWarning(Struct, frozen=True):
    node_id: str
    field: str
    message: str


class InputSchema(Struct, frozen=True):
    properties: dict[str, dict[str, Any]] = {}
    required: list[str] = []


class Graph(Struct, frozen=True):
    id: str
    version: int
    name: str
    nodes: list[Node]
    input_schema: InputSchema
    credentials_input_schema: InputSchema
    warnings: list[GraphWarning] = []


class NodeRun(Struct, frozen=True):
    """One execution of one node."""

    node_id: str
    node_exec_id: str
    status: str
    output_data: dict[str, list[Any]]
    timings: dict[str, float | None] = {}


class Stats(Struct, frozen=True):
    duration: float = 0
    node_exec_count: int = 0
    node_error_count: int = 0
    error: str | None = None
    timings: dict[str, Any] | None = None


class Run(Struct, frozen=True):
    id: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    stats: Stats | None
    outputs: dict[str, list[Any]]
    node_executions: list[NodeRun]


class Started(Struct, frozen=True):
    id: str


class Block(Struct, frozen=True):
    id: str
    name: str


class Frame(Struct, frozen=True):
    """What the event socket says. `data` stays undecoded until somebody wants it."""

    method: str
    channel: str | None = None
    data: Raw = Raw(b"null")
    error: str | None = None


class RunEvent(Struct, frozen=True):
    id: str
    status: str
    outputs: dict[str, Raw]


class NodeEvent(Struct, frozen=True):
    node_id: str
    node_exec_id: str
    status: str


class PlatformClient:
    """`async with PlatformClient(url, token) as client`. Raises Refused, or Unavailable when nothing answers."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token
        try:
            # A proxy that the environment names is for the world outside, not for this machine.
            self._proxied = httpx.URL(self.url).host not in LOOPBACK
        except httpx.InvalidURL as error:
            raise BadRequest(f"{url!r} is no URL: {error}") from error
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_SECONDS,
            trust_env=self._proxied,
        )

    async def __aenter__(self) -> "PlatformClient":
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def block_names(self) -> dict[str, str]:
        return {block.id: block.name for block in await self._ask("GET", "/api/blocks", list[Block])}

    async def import_graph(self, document: Mapping[str, Any]) -> Graph:
        return await self._ask("POST", "/api/graphs", Graph, {"graph": document, "source": "upload"})

    async def delete_graph(self, graph: Graph) -> None:
        await self._ask("DELETE", f"/api/graphs/{graph.id}", Raw)

    async def execute(self, graph: Graph, inputs: Mapping[str, Any], credentials: Mapping[str, Any]) -> str:
        """The id of the run."""
        body = {"inputs": inputs, "credentials_inputs": credentials}
        return (await self._ask("POST", f"/api/graphs/{graph.id}/execute/{graph.version}", Started, body)).id

    async def run(self, graph: Graph, run_id: str) -> Run:
        return await self._ask("GET", f"/api/graphs/{graph.id}/executions/{run_id}", Run)

    async def stop(self, graph: Graph, run_id: str) -> None:
        await self._ask("POST", f"/api/graphs/{graph.id}/executions/{run_id}/stop", Raw)

    def events(self) -> connect:
        """The event socket, for `async with`. An event carries all of a run's outputs, so it may be of any size."""
        url = httpx.URL(self.url)
        address = url.copy_with(
            scheme="wss" if url.scheme == "https" else "ws",
            path=f"{url.path.rstrip('/')}/ws",
            params={"token": self._token},
        )
        return connect(
            str(address),
            max_size=None,
            max_queue=1024,
            compression=None,
            proxy=True if self._proxied else None,
        )

    async def _ask(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            answer = await self._http.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"No platform answers at {self.url}: {str(error) or type(error).__name__}",
                hint="`agentplat up` starts one on this machine.",
            ) from error
        if answer.is_error:
            raise _refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise Refused(answer.status_code, f"{self.url} is no agentplat: {method} {path}: {error}") from error


async def subscribe(socket: ClientConnection, method: str, **data: str) -> None:
    await socket.send(msgspec.json.encode({"method": method, "data": data}).decode())


def _refusal(answer: httpx.Response) -> Refused:
    """The contract's error body in lines: `detail` may be a text, an object with a message, or a list of problems."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Refused(answer.status_code, f"{answer.request.url.path} answered {answer.status_code}")
    detail = body.get("detail")
    message = body.get("message") or (detail.get("message") if isinstance(detail, dict) else detail)
    return Refused(answer.status_code, str(message), str(body.get("code", "refused")), _problems(detail))


def _problems(detail: Any) -> list[str]:
    if isinstance(detail, list):
        return [f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in detail]
    if not isinstance(detail, dict):
        return []
    lines = [str(problem["message"]) for problem in detail.get("problems", ())]
    if (more := detail.get("problem_count", 0) - len(lines)) > 0:
        lines.append(f"and {more} more")
    for node_id, fields in detail.get("node_errors", {}).items():
        lines += [f"node {node_id}, {field}: {error}" for field, error in fields.items()]
    return lines
