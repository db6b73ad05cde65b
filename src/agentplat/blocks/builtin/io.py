"""Where values enter and leave an agent."""

from datetime import date, time
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from agentplat.sdk import Block, BlockError, BlockType, Category, Context, Outputs, Schema, field, templates


class AgentInputBlock(Block):
    """Takes a value that is given when the agent is started."""

    id = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
    categories = (Category.BASIC, Category.INPUT)
    block_type = BlockType.INPUT
    static_output = True
    pure = True

    class Input(Schema):
        name: str = field(description="The name under which the value is given.")
        value: Any = field(default=None, description="The value; what stands here is the default.")
        title: str | None = field(default=None, description="What a form shows instead of the name.")
        description: str | None = field(default=None, description="An explanation for the form.")
        placeholder_values: list[Any] = field(
            default_factory=list, hidden=True, description="Values a form offers to choose from."
        )
        advanced: bool = field(default=False, description="Shown only on request.")
        secret: bool = field(default=False, description="Masked in forms.")

    class Output(Schema):
        result: Any = field(description="The value given.")

    async def run(self, input: Any, ctx: Context) -> Outputs:
        if input.value is not None:
            yield "result", input.value


class AgentOutputBlock(Block):
    """Hands a value out as a result of the agent."""

    id = "363ae599-353e-4804-937e-b2ee3cef3da4"
    categories = (Category.BASIC, Category.OUTPUT)
    block_type = BlockType.OUTPUT
    static_output = True
    pure = True

    class Input(Schema):
        value: Any = field(default=None, advanced=False, description="The result.")
        name: str = field(description="The name of the result.")
        title: str | None = field(default=None, description="What is shown instead of the name.")
        description: str | None = field(default=None, description="An explanation of the result.")
        format: str = field(default="", description="A template for the result; it sees the value under its name.")
        escape_html: bool = field(default=False, description="Escape HTML in values put into the template.")
        advanced: bool = field(default=False, description="Shown only on request.")
        secret: bool = field(default=False, description="Masked where results are shown.")

    class Output(Schema):
        output: Any = field(description="The result.")
        name: Any = field(description="Its name.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if not input.format:
            yield "output", input.value
            yield "name", input.name
            return
        # A broken template must not cost the result, so the fault is told together with the raw value.
        try:
            text = templates.render(input.format, {input.name: input.value}, escape_html=input.escape_html)
        except (BlockError, ArithmeticError, TypeError) as error:
            text = f"Error: {error}, {input.value}"
        yield "output", text


class AgentShortTextInputBlock(AgentInputBlock):
    """Takes a short text."""

    id = "7fcd3bcb-8e1b-4e69-903d-32d3d4a92158"

    class Input(AgentInputBlock.Input):
        value: str | None = field(default=None, advanced=False, format="short-text", description="The default text.")

    class Output(Schema):
        result: str = field(description="The text given.")


class AgentLongTextInputBlock(AgentInputBlock):
    """Takes a text of several lines."""

    id = "90a56ffb-7024-4b2b-ab50-e26c5e5ab8ba"

    class Input(AgentInputBlock.Input):
        value: str | None = field(default=None, advanced=False, format="long-text", description="The default text.")

    class Output(Schema):
        result: str = field(description="The text given.")


class AgentNumberInputBlock(AgentInputBlock):
    """Takes a whole number."""

    id = "96dae2bb-97a2-41c2-bd2f-13a3b5a8ea98"

    class Input(AgentInputBlock.Input):
        value: int | None = field(default=None, advanced=False, description="The default number.")

    class Output(Schema):
        result: int = field(description="The number given.")


class AgentDateInputBlock(AgentInputBlock):
    """Takes a date."""

    id = "7e198b09-4994-47db-8b4d-952d98241817"

    class Input(AgentInputBlock.Input):
        value: date | None = field(default=None, advanced=False, description="The default date, as YYYY-MM-DD.")

    class Output(Schema):
        result: date = field(description="The date given.")


class AgentTimeInputBlock(AgentInputBlock):
    """Takes a time of day."""

    id = "2a1c757e-86cf-4c7e-aacf-060dc382e434"

    class Input(AgentInputBlock.Input):
        # Text, because seconds may be left out, which a `time` field would refuse.
        value: str | None = field(default=None, advanced=False, format="time", description="The default, as HH:MM.")

    class Output(Schema):
        result: time = field(description="The time given.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.value is not None:
            yield "result", time.fromisoformat(input.value)


class AgentFileInputBlock(AgentInputBlock):
    """Takes a file."""

    id = "95ead23f-8283-4654-aef3-10c053b74a31"
    pure = False
    repeatable = True

    class Input(AgentInputBlock.Input):
        value: str | None = field(default=None, advanced=False, format="file", description="The default file.")
        base_64: bool = field(default=False, description="Emit the content as a data URI instead of the name.")

    class Output(Schema):
        result: str = field(description="The file's name in the run's folder, or its content.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.value:
            yield "result", await ctx.files.store(input.value, inline=input.base_64)


class AgentDropdownInputBlock(AgentInputBlock):
    """Takes one of several values."""

    id = "655d6fdf-a334-421c-b733-520549c07cd1"

    class Input(AgentInputBlock.Input):
        value: str | None = field(default=None, advanced=False, description="The default choice.")
        placeholder_values: list[Any] = field(
            default_factory=list, advanced=False, description="The values to choose from."
        )

    class Output(Schema):
        result: str = field(description="The value chosen.")


class AgentToggleInputBlock(AgentInputBlock):
    """Takes a yes or no."""

    id = "cbf36ab5-df4a-43b6-8a7f-f7ed8652116e"

    class Input(AgentInputBlock.Input):
        value: bool = field(default=False, advanced=False, description="The default.")

    class Output(Schema):
        result: bool = field(description="The answer given.")


class AgentTableInputBlock(AgentInputBlock):
    """Takes the rows of a table."""

    id = "5603b273-f41e-4020-af7d-fbc9c6a8d928"

    class Input(AgentInputBlock.Input):
        value: list[dict[str, Any]] | None = field(default=None, advanced=False, description="The default rows.")
        column_headers: list[str] = field(
            default_factory=lambda: ["Column 1", "Column 2", "Column 3"],
            advanced=False,
            description="The names of the columns.",
        )

    class Output(Schema):
        result: list[dict[str, Any]] = field(description="The rows given.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "result", input.value or []


class DriveFile(Struct, frozen=True, kw_only=True):
    """A file picked from Google Drive."""

    id: str
    name: str | None = None
    mimeType: str | None = None  # noqa: N815 - as Google spells it
    url: str | None = None
    iconUrl: str | None = None  # noqa: N815
    isFolder: bool | None = None  # noqa: N815
    credentials_id: str | None = msgspec.field(default=None, name="_credentials_id")


class DriveView(StrEnum):
    DOCS = "DOCS"
    DOCUMENTS = "DOCUMENTS"
    SPREADSHEETS = "SPREADSHEETS"
    PRESENTATIONS = "PRESENTATIONS"
    DOCS_IMAGES = "DOCS_IMAGES"
    FOLDERS = "FOLDERS"


class AgentGoogleDriveFileInputBlock(AgentInputBlock):
    """Takes a file of somebody's Google Drive."""

    id = "d3b32f15-6fd7-40e3-be52-e083f51b19a2"

    class Input(AgentInputBlock.Input):
        value: DriveFile | None = field(default=None, advanced=False, description="The default file.")
        allowed_views: list[DriveView] = field(
            default_factory=lambda: [DriveView.DOCS, DriveView.SPREADSHEETS, DriveView.PRESENTATIONS],
            advanced=False,
            description="What can be picked from.",
        )
        allow_folder_selection: bool = field(default=False, description="Folders can be picked too.")

    class Output(Schema):
        result: DriveFile = field(description="The file given.")
