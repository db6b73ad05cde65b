"""The one file in a multipart form, read as it comes in: no more of it is held than what came last."""

from collections.abc import AsyncGenerator, AsyncIterator

from msgspec import Struct
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from agentplat.files.errors import FormInvalid

FIELD = "file"
MAX_PARTS = 32


class FilePart(Struct, frozen=True):
    """What the client says of its file."""

    name: str | None
    content_type: str | None


class FileForm:
    """`begin` reads up to the file, `content` is the file; both read once, in this order."""

    def __init__(self, chunks: AsyncIterator[bytes], content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise FormInvalid.of("The body has to be multipart/form-data")
        self._events = _events(chunks, options["boundary"])

    async def begin(self) -> FilePart:
        async for event in self._events:
            if isinstance(event, MultipartSegment) and event.name == FIELD:
                return FilePart(event.filename, event.content_type)
        raise FormInvalid.of("This field is required", FIELD)

    async def content(self) -> AsyncIterator[bytes]:
        inside = True
        async for event in self._events:
            if event is None:
                inside = False
            elif isinstance(event, MultipartSegment):
                if event.name == FIELD:
                    raise FormInvalid.of("There is more than one file", FIELD)
            elif inside:
                yield bytes(event)


async def _events(
    chunks: AsyncIterator[bytes], boundary: str
) -> AsyncGenerator[MultipartSegment | bytes | bytearray | None, None]:
    """The head of each part, then what is in it, then None."""
    problem = "it is malformed"
    try:
        parser = PushMultipartParser(boundary, max_segment_count=MAX_PARTS)
        async for chunk in chunks:
            for event in parser.parse(chunk):
                yield event
        problem = "it ends too early"
        parser.close()
    except ParserLimitReached as error:
        raise FormInvalid.of(f"The form can't be read: more than {MAX_PARTS} parts, or one with a long head") from error
    except (MultipartError, UnicodeError) as error:
        # What the parser says of it quotes the form, and names its own classes.
        raise FormInvalid.of(f"The form can't be read: {problem}") from error
