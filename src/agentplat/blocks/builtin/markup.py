"""Tags to objects."""

import re
from typing import Any

from agentplat.sdk import Block, BlockError, Context, Outputs, OutputSchema, Schema, field

_MAX_TEXT = 10 * 1024 * 1024
_TOKEN = re.compile(
    r"(?P<escaped>\\.)|(?P<comment><!--.*?(?:-->|\Z))|<(?P<opened>[^/<>]+)>|</(?P<closed>[^<>]+)>|(?P<text>[^<\\]+)",
    re.DOTALL,
)


class XMLParserBlock(Block):
    """Reads simple XML, as models write it, into objects. No attributes, no entities, no declarations."""

    id = "286380af-9529-4b55-8be0-1d7c854abdb5"
    pure = True

    class Input(Schema):
        input_xml: str = field(description="The text.")

    class Output(OutputSchema):
        error: str = field(description="What went wrong, if something did.")
        parsed_xml: dict[str, Any] = field(description="The root's name and what is in it.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "parsed_xml", _parse(input.input_xml)


class _Element:
    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text: list[str] = []
        self.children: list[tuple[str, Any]] = []

    def value(self) -> Any:
        if not self.children:
            return "".join(self.text)
        if len({name for name, _ in self.children}) == len(self.children):
            return dict(self.children)
        return [{name: value} for name, value in self.children]


def _parse(text: str) -> dict[str, Any]:
    if len(text) > _MAX_TEXT:
        raise BlockError(f"The XML is longer than {_MAX_TEXT} characters.")
    document = _Element("")
    stack = [document]
    for token in _TOKEN.finditer(text):
        if token["opened"] is not None:
            stack.append(_Element(_name(token["opened"])))
        elif token["closed"] is not None:
            _end_element(stack, _name(token["closed"]))
        elif token["text"] is not None and (content := token["text"].strip()):
            stack[-1].text.append(content)
    if len(stack) > 1:
        raise BlockError(f"The tag <{stack[-1].name}> is not closed.")
    if document.text:
        raise BlockError("There is text outside of the root tag.")
    if len(document.children) != 1:
        raise BlockError("The XML has more than one root." if document.children else "The XML is empty.")
    return dict(document.children)


def _end_element(stack: list[_Element], name: str) -> None:
    element = stack[-1]
    if len(stack) == 1 or element.name != name:
        raise BlockError(f"The tag </{name}> closes nothing.")
    stack.pop()
    stack[-1].children.append((name, element.value()))


def _name(tag: str) -> str:
    return "_".join(tag.split()).lower()
