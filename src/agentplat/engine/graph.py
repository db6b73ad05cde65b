"""The graph as a user draws it: nodes, links, and nothing that was derived from them.

Field names are the contract's, so exported agents decode straight into these structs.
"""

from typing import Any

from msgspec import Struct


class Link(Struct, frozen=True, kw_only=True):
    """A wire from an output pin to an input pin. Both names may carry a dynamic path (see `pins`)."""

    id: str = ""
    source_id: str
    sink_id: str
    source_name: str
    sink_name: str
    is_static: bool = False


class Node(Struct, frozen=True, kw_only=True):
    """An instance of a block with its constants (`input_default`, by pin name)."""

    id: str = ""
    block_id: str
    input_default: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
