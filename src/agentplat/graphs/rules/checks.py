"""Whether nodes are filled in well enough to be saved, or to be run.

What can be wrong with the wiring is the engine's to find (`engine.compile`); this is about constants.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentplat.engine.graph import Link, Node
from agentplat.engine.pins import base_name
from agentplat.graphs.models import JsonObject
from agentplat.graphs.rules.interface import Specs, is_credentials_name
from agentplat.sdk.spec import BlockSpec, BlockType, PinSpec

# Blocks that define what a graph looks like from outside have to be complete before the graph is saved at all.
COMPLETE_WHEN_SAVED = (BlockType.INPUT, BlockType.OUTPUT, BlockType.AGENT)


def linked_pins(links: Iterable[Link]) -> dict[str, set[str]]:
    """By node: the input pins that something is wired to."""
    linked: dict[str, set[str]] = {}
    for link in links:
        linked.setdefault(link.sink_id, set()).add(base_name(link.sink_name))
    return linked


def node_errors(
    node: Node, spec: BlockSpec, linked: set[str], mask: Mapping[str, Any], *, for_run: bool
) -> dict[str, str]:
    """What is wrong with one node, by pin. `mask` has the constants that this run overrides."""
    errors: dict[str, str] = {}
    if for_run or spec.block_type in COMPLETE_WHEN_SAVED:
        filled = linked.union(map(base_name, node.input_default), map(base_name, mask))
        errors |= {
            name: "This field is required"
            for name, pin in spec.inputs.items()
            if pin.required and name not in filled and name not in spec.credentials
        }
    name = node.input_default.get("name")
    if spec.block_type is BlockType.INPUT and isinstance(name, str) and is_credentials_name(name):
        errors["name"] = f"'{name}' is a reserved input name: 'credentials' and `*_credentials` are reserved"
    for pin, needed in _dependencies(spec, for_run=for_run):
        if not pin.required and not _has_value(pin, node.input_default, mask):
            continue
        lacking = [d for d in needed if (p := spec.inputs.get(d)) and not _has_value(p, node.input_default, mask)]
        if lacking:
            errors.setdefault(pin.name, f"Requires {', '.join(lacking)} to be set")
    return errors


def _dependencies(spec: BlockSpec, *, for_run: bool) -> Iterator[tuple[PinSpec, tuple[str, ...]]]:
    for name, pin in spec.inputs.items():
        if for_run and pin.depends_on:
            yield pin, pin.depends_on
        field = spec.credentials.get(name)
        if field is not None and field.discriminator:
            yield pin, (field.discriminator,)


def _has_value(pin: PinSpec, constants: JsonObject, mask: Mapping[str, Any]) -> bool:
    """A pin without a declared default counts as having a value: only an explicit null default says "nothing yet"."""
    if pin.schema.get("default", True) is not None:
        return True
    return not (_blank(constants.get(pin.name)) and _blank(mask.get(pin.name)))


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def graph_errors(
    nodes: Iterable[Node],
    links: Iterable[Link],
    specs: Specs,
    masks: Mapping[str, JsonObject],
    *,
    for_run: bool,
) -> dict[str, dict[str, str]]:
    """Errors by node. Nodes of unknown blocks are left to the structural check."""
    linked = linked_pins(links)
    nothing: set[str] = set()
    found = {}
    for node in nodes:
        if spec := specs.get(node.block_id):
            errors = node_errors(node, spec, linked.get(node.id, nothing), masks.get(node.id, {}), for_run=for_run)
            if errors:
                found[node.id] = errors
    return found
