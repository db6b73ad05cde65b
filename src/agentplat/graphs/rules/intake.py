"""From a graph as somebody sent it to graphs that can be stored.

Two steps with validation between them, so that messages speak of the ids that the sender knows:
`complete` repairs what old and exported files are known to get wrong; `renumber` gives everything ids of its own.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agentplat.engine.compile import Problem, find_problems, repair_static
from agentplat.engine.graph import Link, Node
from agentplat.graphs.models import Graph, JsonObject, SubGraphInput
from agentplat.graphs.rules.checks import graph_errors
from agentplat.graphs.rules.interface import Specs, input_names, output_names
from agentplat.sdk.spec import BlockSpec, BlockType

# Constants of former pins that held secrets in clear. Kept only where a block still has the pin.
RETIRED_SECRETS = frozenset(
    {
        "api_key",
        "client_id",
        "client_secret",
        "creds",
        "discord_bot_token",
        "password",
        "smtp_password",
        "smtp_username",
        "username",
    }
)
RENAMED_MODELS = {
    "claude-3-5-haiku-latest": "claude-haiku-4-5-20251001",
    "claude-3-5-sonnet-latest": "claude-sonnet-4-5-20250929",
    "deepseek-r1-distill-llama-70b": "gpt-5-chat-latest",
    "gemma2-9b-it": "gpt-5-chat-latest",
    "google/gemini-flash-1.5": "google/gemini-2.5-flash",
    "llama3-70b-8192": "llama-3.3-70b-versatile",
    "llama3-8b-8192": "llama-3.1-8b-instant",
}

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Draft(Struct, frozen=True, kw_only=True):
    """One graph on its way in: the graph itself or one of its sub-graphs."""

    id: str
    version: int
    is_active: bool
    name: str
    description: str
    instructions: str | None
    recommended_schedule_cron: str | None
    forked_from_id: str | None
    forked_from_version: int | None
    nodes: list[Node]
    links: list[Link]

    @property
    def origin(self) -> tuple[str, int] | None:
        """What it was forked from: a graph and its version."""
        graph_id, version = self.forked_from_id, self.forked_from_version
        return None if graph_id is None or version is None else (graph_id, version)


def complete(graph: Graph, user_id: str, specs: Specs, new_id: Callable[[], str]) -> list[Draft]:
    """The graph, then its sub-graphs: with ids everywhere, constants brought up to date, agent nodes relinked."""
    drafts = [_draft(part, user_id, specs, new_id) for part in (graph, *graph.sub_graphs)]
    relink = _relinks(drafts, specs)
    return [replace(d, nodes=[relink(node) for node in d.nodes]) for d in drafts] if len(drafts) > 1 else drafts


def _draft(part: SubGraphInput, user_id: str, specs: Specs, new_id: Callable[[], str]) -> Draft:
    nodes = [
        Node(
            id=node.id or new_id(),
            block_id=node.block_id,
            input_default=_constants(node.input_default, specs.get(node.block_id), user_id),
            metadata=node.metadata,
        )
        for node in part.nodes
    ]
    return Draft(
        id=part.id or new_id(),
        version=part.version,
        is_active=part.is_active,
        name=clean(part.name),
        description=clean(part.description),
        instructions=_clean(part.instructions),
        recommended_schedule_cron=_clean(part.recommended_schedule_cron),
        forked_from_id=_clean(part.forked_from_id),
        forked_from_version=part.forked_from_version,
        nodes=nodes,
        links=repair_static(nodes, part.links, specs),
    )


def clean(text: str) -> str:
    """What a text column can hold: control characters go, as everywhere in the contract."""
    return _CONTROL.sub("", text)


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _constants(constants: JsonObject, spec: BlockSpec | None, user_id: str) -> JsonObject:
    if spec is None:
        return constants
    changes: JsonObject = {}
    retired = [name for name in RETIRED_SECRETS.intersection(constants) if name not in spec.inputs]
    if spec.block_type is BlockType.AGENT:
        inputs = constants.get("inputs", constants.get("data"))
        changes = {"user_id": user_id, "inputs": {} if inputs is None else inputs}
        retired.append("data")
    changes |= _model(constants, spec)
    if not retired and not changes:
        return constants
    return {k: v for k, v in constants.items() if k not in retired} | changes


def _model(constants: JsonObject, spec: BlockSpec) -> JsonObject:
    """A language model that is no longer offered gives way to its successor, an unknown one to the block's default."""
    pin, model = spec.inputs.get("model"), constants.get("model")
    if pin is None or not isinstance(model, str) or not pin.schema.get("llm_model"):
        return {}
    offered = pin.schema.get("enum", ())
    if model in offered:
        return {}
    successor = RENAMED_MODELS.get(model, pin.schema.get("default"))
    return {"model": successor} if successor in offered else {}


def _relinks(drafts: list[Draft], specs: Specs) -> Callable[[Node], Node]:
    """In exported files agent nodes name ids that no graph of the file has. Version and input names find the graph."""
    known = {draft.id for draft in drafts}
    candidates: dict[tuple[int, frozenset[str]], list[Draft]] = {}
    for draft in drafts[1:]:
        candidates.setdefault((draft.version, input_names(draft.nodes, specs)), []).append(draft)

    def relink(node: Node) -> Node:
        spec = specs.get(node.block_id)
        if spec is None or spec.block_type is not BlockType.AGENT:
            return node
        mentioned = node.input_default.get("graph_id")
        if isinstance(mentioned, str) and mentioned in known:
            return node
        version = node.input_default.get("graph_version")
        fitting = (
            candidates.get((version, _property_names(node.input_default.get("input_schema"))), [])
            if isinstance(version, int)
            else []
        )
        if len(fitting) > 1:
            outputs = _property_names(node.input_default.get("output_schema"))
            fitting = [draft for draft in fitting if output_names(draft.nodes, specs) == outputs]
        if len(fitting) != 1:
            return node
        return replace(node, input_default=node.input_default | {"graph_id": fitting[0].id})

    return relink


def _property_names(schema: Any) -> frozenset[str]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return frozenset(properties) if isinstance(properties, dict) else frozenset()


def problems(drafts: Sequence[Draft], specs: Specs) -> list[Problem]:
    """Everything that keeps these graphs from being stored."""
    found: list[Problem] = []
    seen: set[tuple[str, int]] = set()
    for draft in drafts:
        if (draft.id, draft.version) in seen:
            found.append(Problem(f"Graph #{draft.id} v{draft.version} is given twice"))
        seen.add((draft.id, draft.version))
        found += find_problems(draft.nodes, draft.links, specs)
        errors = graph_errors(draft.nodes, draft.links, specs, {}, for_run=False)
        found += [
            Problem(f"{specs[node.block_id].name} #{node.id}, `{field}`: {message}", node.id, field)
            for node in draft.nodes
            for field, message in errors.pop(node.id, {}).items()
        ]
    return found


def renumber(
    drafts: Iterable[Draft], graph_id_of: Callable[[str, Any], str], specs: Specs, new_id: Callable[[], str]
) -> list[Draft]:
    """New ids for nodes and links; and for graphs, wherever they are mentioned, what `graph_id_of` makes of an id and a
    version."""

    def renamed(node: Node, node_id: str) -> Node:
        spec, mentioned = specs.get(node.block_id), node.input_default.get("graph_id")
        if spec is None or spec.block_type is not BlockType.AGENT or not isinstance(mentioned, str):
            return replace(node, id=node_id)
        constants = node.input_default | {"graph_id": graph_id_of(mentioned, node.input_default.get("graph_version"))}
        return replace(node, id=node_id, input_default=constants)

    renumbered = []
    for draft in drafts:
        node_ids = {node.id: new_id() for node in draft.nodes}
        nodes = [renamed(node, node_ids[node.id]) for node in draft.nodes]
        links = [
            replace(link, id=new_id(), source_id=node_ids[link.source_id], sink_id=node_ids[link.sink_id])
            for link in draft.links
        ]
        renumbered.append(replace(draft, id=graph_id_of(draft.id, draft.version), nodes=nodes, links=links))
    return renumbered


def one_active(drafts: Sequence[Draft]) -> list[Draft]:
    """Of several versions of one sub-graph at most the newest active one stays active, as the database demands."""
    newest: dict[str, int] = {}
    for draft in drafts:
        if draft.is_active:
            newest[draft.id] = max(draft.version, newest.get(draft.id, 0))
    return [replace(draft, is_active=newest.get(draft.id) == draft.version) for draft in drafts]


def newest(drafts: Sequence[Draft]) -> list[tuple[str, int]]:
    """The highest version of each graph."""
    versions: dict[str, int] = {}
    for draft in drafts:
        versions[draft.id] = max(draft.version, versions.get(draft.id, 0))
    return list(versions.items())
