"""What the platform knows of a block without running it: plain data, shared by the SDK, the engine and the API."""

from enum import StrEnum
from typing import Any

from msgspec import Struct


class BlockType(StrEnum):
    """The contract's `uiType`."""

    STANDARD = "Standard"
    INPUT = "Input"
    OUTPUT = "Output"
    NOTE = "Note"
    WEBHOOK = "Webhook"
    WEBHOOK_MANUAL = "Webhook (manual)"
    AGENT = "Agent"
    AI = "AI"
    AYRSHARE = "Ayrshare"
    HUMAN_IN_THE_LOOP = "Human In The Loop"


class PinSpec(Struct, frozen=True, kw_only=True):
    """One input pin.

    `schema` is its JSON Schema in the contract's form (references inlined).
    `convert` tells whether a value of another type is converted to it: only pins that the block's own
    input class declares are, inherited ones are not.
    """

    name: str
    schema: dict[str, Any]
    required: bool
    convert: bool = True
    depends_on: tuple[str, ...] = ()


class CredentialsSpec(Struct, frozen=True, kw_only=True):
    """One credentials field: which credentials fit it."""

    field: str
    providers: frozenset[str]
    types: frozenset[str]
    required: bool = True
    scopes: frozenset[str] = frozenset()
    discriminator: str | None = None
    discriminator_mapping: dict[str, str] | None = None
    discriminator_values: frozenset[str] = frozenset()

    def takes(self, provider: str, kind: str) -> bool:
        """Whether credentials of this provider and type are for this field at all."""
        return provider in self.providers and kind in self.types


class CostEntry(Struct, frozen=True, kw_only=True):
    """One price, charged when `cost_filter` is a recursive subset of the node's input. Credits: 1 = 1 US cent."""

    cost_amount: int
    cost_filter: dict[str, Any] = {}
    cost_type: str = "run"


class WebhookSpec(Struct, frozen=True, kw_only=True):
    """How a trigger block is fed by its provider."""

    provider: str
    webhook_type: str
    event_filter_input: str = ""
    event_format: str = "{event}"
    resource_format: str | None = None


class BlockSpec(Struct, frozen=True, kw_only=True):
    """A block as data. `inputs` and `outputs` are keyed by pin name, in declaration order.

    `pure`: running it again is unobservable. `inline`: it never suspends, so it may run without a task.
    `isolated`: it runs in a process of its own.
    `repeatable`: it may run again after a crash even though it has effects. `timeout`: seconds per attempt.
    `calls_tools`: it calls the nodes that its `tools` pin is wired to.
    """

    id: str
    name: str
    description: str
    block_type: BlockType
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    inputs: dict[str, PinSpec]
    outputs: dict[str, dict[str, Any]]
    categories: tuple[str, ...] = ()
    contributors: tuple[str, ...] = ()
    credentials: dict[str, CredentialsSpec] = {}
    costs: tuple[CostEntry, ...] = ()
    static_output: bool = False
    disabled: bool = False
    sensitive: bool = False
    pure: bool = False
    inline: bool = False
    isolated: bool = False
    repeatable: bool = False
    timeout: float | None = None
    calls_tools: bool = False
    webhook: WebhookSpec | None = None
