"""What the platform hands to a block besides its input."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import httpx2
from msgspec import Struct, field

from agentplat.sdk.errors import BlockError
from agentplat.sdk.secrets import ApiKeyCredentials, Credentials
from agentplat.sdk.tools import Tool


class NodeStats(Struct, kw_only=True):
    """What one node execution used. A block adds to it; the platform adds the times."""

    llm_call_count: int = 0
    llm_retry_count: int = 0
    input_token_count: int = 0
    output_token_count: int = 0
    extra_cost: int = 0
    extra_steps: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        *,
        llm_call_count: int = 0,
        llm_retry_count: int = 0,
        input_token_count: int = 0,
        output_token_count: int = 0,
        extra_cost: int = 0,
        extra_steps: int = 0,
    ) -> None:
        """Add to the counters."""
        self.llm_call_count += llm_call_count
        self.llm_retry_count += llm_retry_count
        self.input_token_count += input_token_count
        self.output_token_count += output_token_count
        self.extra_cost += extra_cost
        self.extra_steps += extra_steps


class Files(Protocol):
    """The files of one run."""

    async def store(self, source: str, *, inline: bool = False) -> str:
        """Put a data URI, a URL or a file of this run into the run's folder.

        Returns the file's name there, or its content as a data URI with `inline`.
        """
        ...

    async def read(self, source: str) -> bytes:
        """The content of what `store` would store."""
        ...


class Services(Struct, frozen=True, kw_only=True):
    """What all executions of one process share.

    `base_urls` maps a provider's name to the address of its API, where that is not the provider's own.
    """

    http: httpx2.AsyncClient
    base_urls: Mapping[str, str] = {}


IDEMPOTENCY_KEY = "Idempotency-Key"
# Carried out twice they have the effect of once (RFC 9110, 9.2.2).
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})

ToolRunner = Callable[[Tool, Mapping[str, Any], Any], Awaitable[dict[str, list[Any]]]]


class Context(Struct, kw_only=True):
    """One execution of one block: who asked for it, where it stands, and what it may use.

    `idempotency_key` stays the same when a node execution is attempted again, after a failure or a crash; `request`
    sends it along, and services that are reached otherwise should be handed it where they know such keys. `credentials`
    is keyed by the name of the credentials pin. `tools` are the nodes that a block with `calls_tools` may call; `memo`
    is the last one that came with a call, when such a block begins again.
    """

    user_id: str
    graph_id: str = ""
    graph_version: int = 0
    run_id: str = ""
    node_id: str = ""
    node_exec_id: str = ""
    idempotency_key: str = ""
    timezone: str = "UTC"
    credentials: Mapping[str, Credentials] = {}
    tools: tuple[Tool, ...] = ()
    memo: Any = None
    shared: Services | None = None
    run_files: Files | None = None
    run_tool: ToolRunner | None = None
    recorded: NodeStats | None = None
    keyed_requests: int = 0

    @property
    def stats(self) -> NodeStats:
        """Counters of this execution. Made on first use, as most blocks never count anything."""
        if self.recorded is None:
            self.recorded = NodeStats()
        return self.recorded

    @property
    def http(self) -> httpx2.AsyncClient:
        """The process-wide HTTP client. Do not close it."""
        return self._services.http

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx2.Response:
        """Send a request that is carried out once, however often this execution is attempted.

        One that a repetition could carry out twice has the `Idempotency-Key` of this execution, the same at each
        attempt, unless `headers` has one. Of several such requests each has its own, by its place in their order, so
        the order must be the same at each attempt. `options` are those of `httpx2.AsyncClient.request`.
        """
        sent = httpx2.Headers(headers)
        if self.idempotency_key and method.upper() not in IDEMPOTENT_METHODS:
            self.keyed_requests += 1
            number = self.keyed_requests
            sent.setdefault(
                IDEMPOTENCY_KEY, self.idempotency_key if number == 1 else f"{self.idempotency_key}:{number}"
            )
        return await self.http.request(method, url, headers=sent, **options)

    @property
    def files(self) -> Files:
        """The files of this run."""
        if self.run_files is None:
            raise BlockError("Files are not available here.")
        return self.run_files

    async def call(self, tool: Tool, arguments: Mapping[str, Any], memo: Any = None) -> dict[str, list[Any]]:
        """Run a tool as a node of this run and wait for its outputs, by name. Raises `BlockError` where it fails.

        The call is on record. Should the block have to begin again, the same call gives what it gave; and the block
        finds the last `memo` and is expected to go on from there: outputs from before that are not to be emitted again.
        """
        if self.run_tool is None:
            raise BlockError("Tools cannot be run here.")
        return await self.run_tool(tool, arguments, memo)

    def base_url(self, provider: str) -> str | None:
        """Where the provider's API is, if the installation says so."""
        return self._services.base_urls.get(provider)

    def api_key(self, pin: str = "credentials") -> ApiKeyCredentials:
        """The API key given for a credentials pin."""
        found = self.credentials.get(pin)
        if not isinstance(found, ApiKeyCredentials):
            raise BlockError(f"No API key was given for '{pin}'.")
        return found

    @property
    def _services(self) -> Services:
        if self.shared is None:
            raise BlockError("The network is not available here.")
        return self.shared
