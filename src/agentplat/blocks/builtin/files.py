"""Files and what is in them."""

import csv
import io
from collections.abc import Iterator

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field


class FileStoreBlock(Block):
    """Puts a file where the other blocks of the run find it."""

    id = "cbb50872-625b-42f0-8203-a2ae78242d8a"
    categories = (Category.BASIC, Category.MULTIMEDIA)
    static_output = True
    repeatable = True

    class Input(Schema):
        file_in: str = field(format="file", description="A data URI, a URL, or the name of a file of this run.")
        base_64: bool = field(default=False, description="Emit the content as a data URI instead of the name.")

    class Output(OutputSchema):
        file_out: str = field(format="file", description="The file's name, or its content.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "file_out", await ctx.files.store(input.file_in, inline=input.base_64)


class FileReadBlock(Block):
    """Reads a text file, all of it or in parts."""

    id = "3735a31f-7e18-4aca-9e90-08a7120674bc"
    categories = (Category.DATA, Category.TEXT)
    repeatable = True

    class Input(Schema):
        file_input: str = field(format="file", description="A data URI, a URL, or the name of a file of this run.")
        delimiter: str = field(default="", description="What separates rows.")
        size_limit: int = field(default=0, description="Characters per part; 0 for one part.")
        row_limit: int = field(default=0, description="Rows to read; 0 for all.")
        skip_size: int = field(default=0, description="Characters to leave out at the start.")
        skip_rows: int = field(default=0, description="Rows to leave out at the start.")

    class Output(OutputSchema):
        content: str = field(description="The text, or a part of it.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        text = _decoded(await ctx.files.read(input.file_input))
        if not text:
            return
        text = _rows_of(text[max(input.skip_size, 0) :], input)
        size = input.size_limit if input.size_limit > 0 else max(len(text), 1)
        for start in range(0, max(len(text), 1), size):
            yield "content", text[start : start + size]


def _rows_of(text: str, input: FileReadBlock.Input) -> str:
    rows = text.split(input.delimiter) if input.delimiter else [text]
    rows = rows[max(input.skip_rows, 0) :]
    return input.delimiter.join(rows[: input.row_limit] if input.row_limit > 0 else rows)


class ReadSpreadsheetBlock(Block):
    """Reads a table from CSV."""

    id = "acf7625e-d2cb-4941-bfeb-2819fc6fc015"
    categories = (Category.DATA, Category.TEXT)
    repeatable = True
    isolated = True  # a large table takes seconds, and many times its own size of memory

    class Input(Schema):
        contents: str | None = field(default=None, advanced=False, description="The CSV text.")
        file_input: str | None = field(default=None, advanced=False, format="file", description="A file with it.")
        delimiter: str = field(default=",", description="What separates columns.")
        quotechar: str = field(default='"', description="What surrounds values that contain it.")
        escapechar: str = field(default="\\", description="What stands before a special character.")
        has_header: bool = field(default=True, description="The first row names the columns.")
        skip_rows: int = field(default=0, description="Rows to leave out after that.")
        strip: bool = field(default=True, description="Remove blanks around values.")
        skip_columns: list[str] = field(default_factory=list, advanced=True, description="Kept for old agents.")
        produce_singular_result: bool = field(default=False, description="Emit row by row.")

    class Output(OutputSchema):
        row: dict[str, str] = field(description="A row.")
        rows: list[dict[str, str]] = field(description="All rows.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        text = input.contents
        if input.file_input:
            text = _table_text(await ctx.files.read(input.file_input))
        if not text:
            raise BlockError("There is neither a file nor any content.")
        rows = list(_records(text, input))
        if not input.produce_singular_result:
            yield "rows", rows
            return
        for row in rows:
            yield "row", row


def _table_text(content: bytes) -> str:
    # Excel's files are archives; read as text they would come out as noise.
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise BlockError("This is an Excel file. Save it as CSV first.")
    return _decoded(content)


def _records(text: str, input: ReadSpreadsheetBlock.Input) -> Iterator[dict[str, str]]:
    try:
        lines = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=input.delimiter,
            quotechar=input.quotechar or None,
            escapechar=input.escapechar or None,
            quoting=csv.QUOTE_MINIMAL if input.quotechar else csv.QUOTE_NONE,
        )
        table = [[cell.strip() if input.strip else cell for cell in line] for line in lines]
    except (csv.Error, TypeError) as error:
        raise BlockError(f"The table cannot be read: {error}") from error
    header = table.pop(0) if input.has_header else None
    if input.skip_rows > len(table):
        raise BlockError(f"There are only {len(table)} rows, so {input.skip_rows} cannot be left out.")
    for line in table[max(input.skip_rows, 0) :]:
        names = header if header is not None else [str(number) for number in range(len(line))]
        if len(line) > len(names):
            raise BlockError("A row has more values than there are columns.")
        yield dict(zip(names, line, strict=False))


def _decoded(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
