"""Graphs as the wire shows them, and as the rest of the platform uses them.

Members that a client sends and the platform works out itself (links inside nodes, computed schemas) are accepted and
ignored, because clients send back whole what they were given.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from agentplat.engine.graph import Link, Node

MAX_VERSION = 2**31 - 1

Version = Annotated[int, Meta(ge=1, le=MAX_VERSION)]
JsonObject = dict[str, Any]


# --- what clients send


class NodeInput(Node, frozen=True, kw_only=True):
    """A node as sent. Its link lists repeat the graph's `links` and are ignored."""

    input_links: list[Any] = field(default_factory=list)
    output_links: list[Any] = field(default_factory=list)


class SubGraphInput(Struct, frozen=True, kw_only=True):
    id: str = ""
    version: Version = 1
    is_active: bool = True
    name: str
    description: str
    instructions: str | None = None
    recommended_schedule_cron: str | None = None
    nodes: list[NodeInput] = []
    links: list[Link] = []
    forked_from_id: str | None = None
    forked_from_version: Version | None = None


class Graph(SubGraphInput, frozen=True, kw_only=True):
    """A graph with all graphs that its agent nodes run, at any depth."""

    sub_graphs: list[SubGraphInput] = field(default_factory=list)


class CreateGraph(Struct, frozen=True, kw_only=True):
    graph: Graph
    source: Literal["builder", "upload"] | None = None


class SetGraphActiveVersion(Struct, frozen=True, kw_only=True):
    active_graph_version: Version


class GraphSettingsPatch(Struct, frozen=True, kw_only=True):
    """Only the members that are sent change; null means the default."""

    human_in_the_loop_safe_mode: bool | UnsetType | None = UNSET
    sensitive_action_safe_mode: bool | UnsetType | None = UNSET
    run_deadline_seconds: Annotated[int, Meta(ge=1)] | UnsetType | None = UNSET


# --- what clients get


class Webhook(Struct, frozen=True, kw_only=True):
    id: str
    user_id: str
    provider: str
    credentials_id: str
    webhook_type: str
    resource: str
    events: list[str]
    config: JsonObject
    secret: str
    provider_webhook_id: str
    url: str


class NodeView(Node, frozen=True, kw_only=True):
    input_links: list[Link]
    output_links: list[Link]


class NodeModel(NodeView, frozen=True, kw_only=True):
    graph_id: str
    graph_version: int
    webhook_id: str | None = None
    webhook: Webhook | None = None


class GraphTriggerInfo(Struct, frozen=True, kw_only=True):
    """How to set up what starts the graph from outside."""

    provider: str
    config_schema: JsonObject
    credentials_input_name: str | None


class _GraphFacts(Struct, frozen=True, kw_only=True):
    id: str
    version: int
    is_active: bool
    name: str
    description: str
    instructions: str | None
    recommended_schedule_cron: str | None
    forked_from_id: str | None
    forked_from_version: int | None
    input_schema: JsonObject
    output_schema: JsonObject
    has_external_trigger: bool
    has_human_in_the_loop: bool
    has_sensitive_action: bool
    trigger_setup_info: GraphTriggerInfo | None


class SubGraphModel(_GraphFacts, frozen=True, kw_only=True):
    nodes: list[NodeView]
    links: list[Link]


class GraphMeta(_GraphFacts, frozen=True, kw_only=True):
    user_id: str
    sub_graphs: list[SubGraphModel]
    credentials_input_schema: JsonObject


class GraphWarning(Struct, frozen=True, kw_only=True):
    """Something about a node that is allowed, and is probably not meant."""

    node_id: str
    field: str
    message: str


class GraphModel(GraphMeta, frozen=True, kw_only=True):
    """`warnings`, which is not in the contract, is only in the answer to storing a graph that gives reason to."""

    nodes: list[NodeModel]
    links: list[Link]
    created_at: datetime
    warnings: list[GraphWarning] | UnsetType = UNSET


class DeleteGraphResponse(Struct, frozen=True, kw_only=True):
    version_counts: int


class GraphSettings(Struct, frozen=True, kw_only=True):
    """How much a user lets runs of a graph do unasked, and how many seconds each may take (not in the contract): never
    more than the platform allows, which is also what holds where nothing is said.
    """

    human_in_the_loop_safe_mode: bool = True
    sensitive_action_safe_mode: bool = False
    run_deadline_seconds: int | UnsetType = UNSET


# --- what the platform uses


class GraphHead(Struct, frozen=True, kw_only=True):
    """A stored version without its nodes and links."""

    id: str
    version: int
    user_id: str
    name: str
    description: str
    instructions: str | None
    recommended_schedule_cron: str | None
    is_active: bool
    forked_from_id: str | None
    forked_from_version: int | None
    created_at: datetime


class LibraryAgent(Struct, frozen=True, kw_only=True):
    """A graph that a user has at hand; `id` is that of its place in the library."""

    id: str
    graph_id: str
    name: str
    description: str


class GraphVersion(GraphHead, frozen=True, kw_only=True):
    """One stored version. Everything but `is_active` is fixed for ever. `size` is that of the stored body in bytes."""

    nodes: list[Node]
    links: list[Link]
    size: int


class Prepared(Struct, frozen=True, kw_only=True):
    """What a run needs besides its inputs: constants per node, and the nodes that are left out."""

    masks: dict[str, JsonObject]
    nodes_to_skip: list[str]
