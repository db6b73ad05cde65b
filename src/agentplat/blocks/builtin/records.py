"""Records of particular services: taking them apart and putting them together."""

from typing import Any

from agentplat.sdk import Block, Category, Context, Outputs, OutputSchema, Schema, field


class KeywordRecord(Schema):
    """What a keyword service tells about one search phrase."""

    keyword: str
    search_volume: int | None = None
    competition: float | None = None
    cpc: float | None = None
    keyword_difficulty: int | None = None
    serp_info: dict[str, Any] | None = None
    clickstream_data: dict[str, Any] | None = None


class KeywordOutput(OutputSchema):
    keyword: str = field(description="The phrase.")
    search_volume: int | None = field(default=None, description="Searches per month.")
    competition: float | None = field(default=None, description="How contested it is, from 0 to 1.")
    cpc: float | None = field(default=None, description="Cost of a click.")
    keyword_difficulty: int | None = field(default=None, description="How hard it is to rank for it, from 0 to 100.")
    serp_info: dict[str, Any] | None = field(default=None, description="About the page of results.")
    clickstream_data: dict[str, Any] | None = field(default=None, description="About clicks.")


class KeywordSuggestionExtractorBlock(Block):
    """Takes a keyword suggestion apart."""

    id = "4193cb94-677c-48b0-9eec-6ac72fffd0f2"
    categories = (Category.DATA,)
    pure = True

    class Input(Schema):
        suggestion: KeywordRecord = field(description="The suggestion.")

    Output = KeywordOutput

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for name in KeywordRecord.__struct_fields__:
            yield name, getattr(input.suggestion, name)


class RelatedKeywordExtractorBlock(Block):
    """Takes a related keyword apart."""

    id = "98342061-09d2-4952-bf77-0761fc8cc9a8"
    categories = (Category.DATA,)
    pure = True

    class Input(Schema):
        related_keyword: KeywordRecord = field(description="The related keyword.")

    Output = KeywordOutput

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for name in KeywordRecord.__struct_fields__:
            yield name, getattr(input.related_keyword, name)


class GithubCreateCommentObjectBlock(Block):
    """Makes a comment on a line of code for a GitHub review."""

    id = "b7d5e4f2-8c3a-4e6b-9f1d-7a8b9c5e4d3f"
    categories = (Category.DEVELOPER_TOOLS,)
    pure = True

    class Input(Schema):
        path: str = field(description="The file.")
        body: str = field(description="The comment.")
        position: int | None = field(default=None, description="The position in the diff.")
        line: int | None = field(default=None, description="The line; used where no position is given.")
        side: str | None = field(default="RIGHT", description="The side of the diff.")
        start_line: int | None = field(default=None, description="The first line of several.")
        start_side: str | None = field(default=None, description="The side of the first line.")

    class Output(OutputSchema):
        comment_object: dict[str, Any] = field(description="The comment.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        optional = {
            "position": input.line if input.position is None else input.position,
            "side": input.side if input.side != "RIGHT" else None,
            "start_line": input.start_line,
            "start_side": input.start_side,
        }
        given = {key: value for key, value in optional.items() if value not in (None, "")}
        yield "comment_object", {"path": input.path, "body": input.body} | given
