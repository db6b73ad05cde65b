"""Block descriptions and graphs that say only what a test is about."""

from collections.abc import Mapping
from typing import Any

import msgspec

from agentplat.engine.graph import Link, Node
from agentplat.sdk.spec import BlockSpec, BlockType, CredentialsSpec, PinSpec
from tests.support.shared import SHARED

INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"


def pin(name: str, *, required: bool = False, depends_on: tuple[str, ...] = (), **schema: Any) -> PinSpec:
    return PinSpec(name=name, schema=schema, required=required, depends_on=depends_on)


def block(
    block_id: str,
    *pins: PinSpec,
    kind: BlockType = BlockType.STANDARD,
    credentials: Mapping[str, CredentialsSpec] | None = None,
    outputs: tuple[str, ...] = ("output",),
    **extra: Any,
) -> BlockSpec:
    return BlockSpec(
        id=block_id,
        name=f"{block_id.title()}Block",
        description="",
        block_type=kind,
        input_schema={"type": "object", "properties": {p.name: p.schema for p in pins}},
        output_schema={"type": "object"},
        inputs={p.name: p for p in pins},
        outputs={name: {} for name in outputs},
        credentials=dict(credentials or {}),
        **extra,
    )


def api_key(*providers: str, **extra: Any) -> CredentialsSpec:
    return CredentialsSpec(field="credentials", providers=frozenset(providers), types=frozenset({"api_key"}), **extra)


def node(node_id: str, block_id: str, metadata: dict[str, Any] | None = None, /, **constants: Any) -> Node:
    return Node(id=node_id, block_id=block_id, input_default=constants, metadata=metadata or {})


def link(source_id: str, source_name: str, sink_id: str, sink_name: str, **extra: Any) -> Link:
    return Link(source_id=source_id, source_name=source_name, sink_id=sink_id, sink_name=sink_name, **extra)


def catalogue_specs() -> dict[str, BlockSpec]:
    """All blocks that the contract knows, from its own catalogue: exported agents use more than are built yet."""
    blocks = msgspec.json.decode((SHARED / "catalog" / "blocks.json").read_bytes())["blocks"]
    return {entry["id"]: _from_catalogue(entry) for entry in blocks}


def _from_catalogue(entry: dict[str, Any]) -> BlockSpec:
    schema = entry["input_schema"]
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    return BlockSpec(
        id=entry["id"],
        name=entry["name"],
        description="",
        block_type=BlockType(entry["block_type"]),
        input_schema=schema,
        output_schema=entry["output_schema"],
        inputs={
            name: PinSpec(
                name=name, schema=raw, required=name in required, depends_on=tuple(raw.get("depends_on") or ())
            )
            for name, raw in properties.items()
        },
        outputs=entry["output_schema"].get("properties", {}),
        credentials={
            name: CredentialsSpec(
                field=name,
                providers=frozenset(raw["credentials_provider"]),
                types=frozenset(raw["credentials_types"]),
                scopes=frozenset(raw.get("credentials_scopes") or ()),
                discriminator=raw.get("discriminator"),
                discriminator_mapping=raw.get("discriminator_mapping"),
                discriminator_values=frozenset(raw.get("discriminator_values") or ()),
            )
            for name, raw in properties.items()
            if "credentials_provider" in raw
        },
        static_output=entry["static_output"],
        sensitive=entry["is_sensitive_action"],
    )
