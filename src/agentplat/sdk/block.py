"""The base class of all blocks."""

import inspect
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from agentplat.sdk.categories import Category
from agentplat.sdk.context import Context
from agentplat.sdk.jsonschema import pin_schemas
from agentplat.sdk.schema import CredentialsPin, OutputSchema, Pin, Schema
from agentplat.sdk.spec import BlockSpec, BlockType, CostEntry, CredentialsSpec, PinSpec, WebhookSpec

Outputs = AsyncIterator[tuple[str, Any]]
"""What `run` returns: pairs of an output pin's name and a value, in the order in which they are emitted."""


class Block:
    """One kind of node.

    A subclass sets `id`, declares its pins as nested classes `Input` and `Output`, and writes `run` as an async
    generator. A class without `id` is abstract. The name of the class is the block's name and ends in `Block`; the
    first paragraph of its docstring is its description.

        class ShoutBlock(Block):
            \"\"\"Makes text louder.\"\"\"

            id = "4f1f7f4e-58c6-4b6b-9b8c-0f7b6f6f1d3a"
            categories = (Category.TEXT,)
            pure = True

            class Input(Schema):
                text: str = field(description="What to say.")

            class Output(OutputSchema):
                shout: str = field(description="The same, louder.")

            async def run(self, input: Input, ctx: Context) -> Outputs:
                yield "shout", input.text.upper()

    Rules for `run`:

    - Never change the input, nor anything inside it: the platform shares values between nodes. Build new ones.
    - Values are plain JSON. Emit plain JSON too (structs, enums and dates are turned into it).
    - To fail, raise `BlockError` or yield `"error"` with a text; nothing after that is delivered.
    - Every execution gets its own instance, so `self` remembers nothing from one execution to the next.

    Attributes:
        pure: Running it again, or elsewhere, cannot be noticed: no clock, no chance, no network, no files. Pure blocks
            start as soon as their input exists; all others only once that input is stored.
        inline: It never awaits anything that suspends, and takes microseconds. Same as `pure` unless set.
        isolated: It may block, compute for long, or do what others tell it to (patterns, code): it runs in a process
            of its own, with limits of time and memory, and what goes wrong there fails its node and nothing else.
        repeatable: It may run again after a crash although it has effects. Same as `pure` unless set.
        timeout: Seconds that one attempt may take; a node can set its own.
        calls_tools: It calls the nodes that its output `tools` is wired to, which it finds in `ctx.tools`. A call is an
            output `tools_^_<node id>_~_<pin>` for each of the tool's pins, null where an argument is left out. Or it
            awaits `ctx.call`.
        static_output: Its output stays available and is used again by every execution that needs it.
        sensitive: A person may want to approve its input first.
        costs: Prices; the first entry whose filter fits the input counts.
        disabled: Known, but neither shown nor executed.
    """

    id: ClassVar[str]
    spec: ClassVar[BlockSpec]
    description: ClassVar[str] = ""
    categories: ClassVar[tuple[Category, ...]] = ()
    contributors: ClassVar[tuple[str, ...]] = ()
    block_type: ClassVar[BlockType] = BlockType.STANDARD
    costs: ClassVar[tuple[CostEntry, ...]] = ()
    webhook: ClassVar[WebhookSpec | None] = None
    static_output: ClassVar[bool] = False
    disabled: ClassVar[bool] = False
    sensitive: ClassVar[bool] = False
    pure: ClassVar[bool] = False
    inline: ClassVar[bool | None] = None
    isolated: ClassVar[bool] = False
    repeatable: ClassVar[bool | None] = None
    timeout: ClassVar[float | None] = None
    calls_tools: ClassVar[bool] = False

    Input: ClassVar[type[Schema]] = Schema
    Output: ClassVar[type[Schema]] = OutputSchema

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "id" in cls.__dict__:
            cls.spec = _spec(cls)

    def run(self, input: Any, ctx: Context) -> Outputs:
        """Do the block's work: an async generator of (output pin, value) pairs."""
        raise NotImplementedError


def _spec(block: type[Block]) -> BlockSpec:
    _check(block)
    input_schema = pin_schemas(block.Input)
    output_schema = pin_schemas(block.Output)
    docstring = inspect.getdoc(block) if block.__doc__ else None
    return BlockSpec(
        id=block.id,
        name=block.__name__,
        description=block.description or " ".join((docstring or "").split("\n\n")[0].split()),
        block_type=block.block_type,
        input_schema=input_schema,
        output_schema=output_schema,
        inputs=_inputs(block.Input, input_schema),
        outputs=dict(output_schema["properties"]),
        categories=tuple(block.categories),
        contributors=tuple(block.contributors),
        credentials=_credentials(block.Input, input_schema),
        costs=tuple(block.costs),
        static_output=block.static_output,
        disabled=block.disabled,
        sensitive=block.sensitive,
        pure=block.pure,
        inline=(block.pure and not block.isolated) if block.inline is None else block.inline,
        isolated=block.isolated,
        repeatable=block.pure if block.repeatable is None else block.repeatable,
        timeout=block.timeout,
        calls_tools=block.calls_tools,
        webhook=block.webhook,
    )


def _check(block: type[Block]) -> None:
    name = block.__name__
    if not name.endswith("Block"):
        raise TypeError(f"{name}: the name of a block class ends in 'Block'")
    if block.isolated and (block.inline or block.calls_tools):
        raise TypeError(f"{name}: a block that is isolated can neither run inline nor call tools")
    for pin, schema in pin_schemas(block.Input)["properties"].items():
        if schema.get("type") == "boolean" and "default" not in schema:
            raise TypeError(f"{name}: the boolean input '{pin}' needs a default")
        is_credentials = isinstance(block.Input.__pins__.get(pin), CredentialsPin)
        if is_credentials != (pin == "credentials" or pin.endswith("_credentials")):
            raise TypeError(f"{name}: credentials inputs, and no others, are named 'credentials' or '*_credentials'")
    error = pin_schemas(block.Output)["properties"].get("error", {"type": "string"})
    if error.get("type") != "string":
        raise TypeError(f"{name}: the output 'error' is text")


def _inputs(schema: type[Schema], json_schema: dict[str, Any]) -> dict[str, PinSpec]:
    # Only what the block's own class declares is converted to its type; what it inherits is taken as it comes.
    own = inspect.get_annotations(schema)
    required = json_schema.get("required", ())
    pins: dict[str, PinSpec] = {}
    for name, pin_schema in json_schema["properties"].items():
        pin = schema.__pins__.get(name)
        depends_on = pin.depends_on if isinstance(pin, Pin) else ()
        pins[name] = PinSpec(
            name=name, schema=pin_schema, required=name in required, convert=name in own, depends_on=depends_on
        )
    return pins


def _credentials(schema: type[Schema], json_schema: dict[str, Any]) -> dict[str, CredentialsSpec]:
    required = json_schema.get("required", ())
    return {
        name: CredentialsSpec(
            field=name,
            providers=frozenset(pin.providers),
            types=frozenset(pin.types),
            required=name in required,
            scopes=frozenset(pin.scopes),
            discriminator=pin.discriminator,
            discriminator_mapping=dict(pin.discriminator_mapping) or None,
            discriminator_values=frozenset(pin.discriminator_values),
        )
        for name, pin in schema.__pins__.items()
        if isinstance(pin, CredentialsPin)
    }
