"""What a graph shows of itself: the schemas of its inputs and outputs, and what may start it.

A node whose block is unknown shows nothing: a graph that outlived a block can still be looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentplat.engine.graph import Link, Node
from agentplat.graphs.models import GraphTriggerInfo, JsonObject, NodeView
from agentplat.sdk.spec import BlockSpec, BlockType

Specs = Mapping[str, BlockSpec]

TABLE_INPUT = "5603b273-f41e-4020-af7d-fbc9c6a8d928"
DRIVE_FILE_INPUT = "d3b32f15-6fd7-40e3-be52-e083f51b19a2"
DRIVE_SCOPES = ["https://www.googleapis.com/auth/drive.file"]
DEFAULT_TABLE_HEADERS = ["Column 1", "Column 2", "Column 3"]

TRIGGERS = (BlockType.WEBHOOK, BlockType.WEBHOOK_MANUAL)


def is_credentials_name(name: str) -> bool:
    return name == "credentials" or name.endswith("_credentials")


def input_schema(nodes: Iterable[Node], specs: Specs) -> JsonObject:
    return _schema(nodes, specs, BlockType.INPUT)


def output_schema(nodes: Iterable[Node], specs: Specs) -> JsonObject:
    return _schema(nodes, specs, BlockType.OUTPUT)


def _schema(nodes: Iterable[Node], specs: Specs, kind: BlockType) -> JsonObject:
    properties: JsonObject = {}
    required: dict[str, None] = {}
    for node in nodes:
        spec = specs.get(node.block_id)
        name = node.input_default.get("name")
        if spec is None or spec.block_type is not kind or "value" not in spec.inputs or not isinstance(name, str):
            continue
        properties[name] = _property(spec, name, node.input_default)
        if node.input_default.get("value") is None:
            required[name] = None
    return {"type": "object", "properties": properties, "required": list(required)}


def _property(spec: BlockSpec, name: str, constants: JsonObject) -> JsonObject:
    shown = {k: v for k, v in spec.inputs["value"].schema.items() if k not in ("description", "default")}
    shown |= _extras(spec, constants)
    value = constants.get("value")
    shown["secret"] = bool(constants.get("secret"))
    shown["advanced"] = bool(constants.get("advanced")) and value is not None
    shown["title"] = constants.get("title") or name
    if description := constants.get("description"):
        shown["description"] = description
    if value is not None:
        shown["default"] = value
    return shown


def _extras(spec: BlockSpec, constants: JsonObject) -> JsonObject:
    extras: JsonObject = {}
    if spec.block_type is BlockType.INPUT and (choices := constants.get("placeholder_values")):
        extras["enum"] = choices
    if spec.id == TABLE_INPUT:
        headers = constants.get("column_headers") or DEFAULT_TABLE_HEADERS
        columns = {str(header): {"type": "string"} for header in headers} if isinstance(headers, list) else {}
        extras |= {"type": "array", "format": "table", "items": {"type": "object", "properties": columns}}
    if spec.id == DRIVE_FILE_INPUT:
        auto = {"provider": "google", "type": "oauth2", "scopes": DRIVE_SCOPES, "kwarg_name": "credentials"}
        extras |= {
            "format": "google-drive-picker",
            "google_drive_picker_config": {
                "multiselect": False,
                "allow_folder_selection": bool(constants.get("allow_folder_selection")),
                "allowed_views": constants.get("allowed_views") or ["DOCS"],
                "scopes": DRIVE_SCOPES,
                "auto_credentials": auto,
            },
            "auto_credentials": auto,
        }
    return extras


def input_names(nodes: Iterable[Node], specs: Specs) -> frozenset[str]:
    return frozenset(input_schema(nodes, specs)["properties"])


def output_names(nodes: Iterable[Node], specs: Specs) -> frozenset[str]:
    return frozenset(output_schema(nodes, specs)["properties"])


def has_block_type(nodes: Iterable[Node], specs: Specs, *kinds: BlockType) -> bool:
    return any(spec.block_type in kinds for node in nodes if (spec := specs.get(node.block_id)))


def has_sensitive_block(nodes: Iterable[Node], specs: Specs) -> bool:
    return any(spec.sensitive for node in nodes if (spec := specs.get(node.block_id)))


def trigger_setup(nodes: Iterable[Node], specs: Specs) -> GraphTriggerInfo | None:
    spec = next((s for node in nodes if (s := specs.get(node.block_id)) and s.block_type in TRIGGERS), None)
    if spec is None or spec.webhook is None:
        return None
    schema: dict[str, Any] = dict(spec.input_schema)
    schema["properties"] = {k: v for k, v in schema.get("properties", {}).items() if not is_credentials_name(k)}
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if not is_credentials_name(name)]
    return GraphTriggerInfo(
        provider=spec.webhook.provider,
        config_schema=schema,
        credentials_input_name=next(iter(spec.credentials), None),
    )


def with_links(nodes: Sequence[Node], links: Iterable[Link]) -> list[NodeView]:
    """The nodes, each with the links that touch it."""
    inbound: dict[str, list[Link]] = {node.id: [] for node in nodes}
    outbound: dict[str, list[Link]] = {node.id: [] for node in nodes}
    for link in links:
        outbound[link.source_id].append(link)
        inbound[link.sink_id].append(link)
    return [
        NodeView(
            id=node.id,
            block_id=node.block_id,
            input_default=node.input_default,
            metadata=node.metadata,
            input_links=inbound[node.id],
            output_links=outbound[node.id],
        )
        for node in nodes
    ]


def distinct(links: Iterable[Link]) -> list[Link]:
    """The graph's list shows a doubled link once. Nodes keep both, because both fire."""
    return list({(link.source_id, link.sink_id, link.source_name, link.sink_name): link for link in links}.values())
