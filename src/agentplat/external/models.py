"""What programs with an API key send and get, where it differs from what people get."""

from typing import Any, Literal

from msgspec import Raw, Struct

from agentplat.engine.state import Status
from agentplat.integrations.models import Kind


class Me(Struct, frozen=True, kw_only=True):
    id: str
    name: str | None
    email: str
    timezone: str


class BlockCategory(Struct, frozen=True, kw_only=True):
    category: str
    description: str


class BlockDescription(Struct, frozen=True, kw_only=True, rename="camel"):
    """Describes what is in the catalogue, which is encoded once and sent as it is."""

    id: str
    name: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    description: str
    categories: list[BlockCategory]
    contributors: list[dict[str, Any]]
    static_output: bool
    ui_type: str
    costs: list[dict[str, Any]]


class ExecuteGraph(Struct, frozen=True, kw_only=True):
    node_input: dict[str, Any] = {}


class StartedExecution(Struct, frozen=True, kw_only=True):
    id: str


class ExecutionNode(Struct, frozen=True, kw_only=True):
    """`input` is the value of the pin `value` where there is one, else an object of all pins."""

    node_id: str
    input: Any
    output: dict[str, Any]


class ExecutionResult(Struct, frozen=True, kw_only=True):
    """`output` has one object per value, in the order of the outputs' names; null until the run is COMPLETED."""

    execution_id: str
    status: Status
    nodes: list[ExecutionNode]
    output: list[dict[str, Any]] | None


class SeenNode(Struct, frozen=True, kw_only=True):
    """The part of a node execution that is passed on."""

    node_id: str
    input_data: dict[str, Raw]
    output_data: Raw


class SeenRun(Struct, frozen=True, kw_only=True):
    outputs: dict[str, list[Any]]
    node_executions: list[SeenNode]


class CredentialsCreated(Struct, frozen=True, kw_only=True):
    id: str
    provider: str
    type: Kind
    title: str | None


class CredentialsGone(Struct, frozen=True, kw_only=True):
    deleted: bool
    credentials_id: str


class FindAgent(Struct, frozen=True, kw_only=True):
    query: str


class FoundAgent(Struct, frozen=True, kw_only=True):
    """One of the user's own agents. What only agents of a marketplace have is null."""

    id: str
    name: str
    description: str
    graph_id: str
    source: Literal["marketplace", "library"]
    in_library: bool = True
    can_access_graph: bool = True
    creator: str | None = None
    category: str | None = None
    rating: float | None = None
    runs: int | None = None
    is_featured: bool | None = None
    status: str | None = None
    has_external_trigger: bool | None = None
    new_output: bool | None = None


class AgentsFound(Struct, frozen=True, kw_only=True, tag_field="type", tag="agents_found"):
    message: str
    title: str
    agents: list[FoundAgent]
    count: int
    session_id: str | None = None
    name: Literal["agents_found"] = "agents_found"


class NoResults(Struct, frozen=True, kw_only=True, tag_field="type", tag="no_results"):
    message: str
    suggestions: list[str]
    session_id: str | None = None
    name: Literal["no_results"] = "no_results"


class ToolError(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    message: str
    session_id: str | None = None
    error: str | None = None
    details: dict[str, Any] | None = None
