"""Small graphs, drawn in one line each: `draw({"a": (STORE, {"input": 1}), …}, "a.output -> b.input")`."""

from typing import Any

from msgspec import Struct

from agentplat.engine.graph import Link, Node

STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
CONDITION = "715696a0-e1da-45c8-b209-c2fa9c3b0be6"
CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
FILL_TEXT = "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"
CREATE_LIST = "a912d5c7-6e00-4542-b2a9-8034136930e4"
CREATE_DICT = "b924ddf4-de4f-4b56-9a85-358930dcbc91"
ADD_TO_LIST = "aeb08fc1-2fc1-4141-bc8e-f758f183a822"
FIND_IN_DICT = "0e50422c-6dee-4145-83d6-3a5a392f65de"
AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"
REVIEW = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
PRINT = "f3b1c1b2-4c4f-4f0d-8d2f-4c4f0d8d2f4c"
NEG = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a01"
MULTI = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a02"
MID = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a03"
SLOW = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a04"
EFFECT = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a15"
REPEATABLE = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a16"
FLAKY = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a18"
PAID = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a19"
SPILL = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a17"
TWO = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1a"
KEYED = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1b"
SEND = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1c"
GATE = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1d"
SPIN = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a20"
HOARD = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a21"
CRASH = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a22"
EXIT = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a23"
BLOCK = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a24"
BLOCK_AGAIN = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a25"
FLAKY_APART = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a26"
PAID_APART = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a27"
CALL = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a30"
CALL_AGAIN = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a31"
CALL_APART = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a32"
CALL_APART_AGAIN = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a33"
DECIDE = "3b191d9f-356f-482d-8238-ba04b6d18381"


class Drawing(Struct, frozen=True):
    nodes: list[Node]
    links: list[Link]

    def as_graph(self, name: str = "drawing") -> dict[str, Any]:
        """As a client sends it. Node ids are replaced on saving, so the drawn ones travel as customized names."""
        return {
            "name": name,
            "description": "drawn by a test",
            "nodes": [
                {
                    "id": node.id,
                    "block_id": node.block_id,
                    "input_default": node.input_default,
                    "metadata": {**node.metadata, "customized_name": node.id},
                }
                for node in self.nodes
            ],
            "links": [
                {name: getattr(link, name) for name in ("source_id", "source_name", "sink_id", "sink_name")}
                for link in self.links
            ],
        }


def draw(nodes: dict[str, tuple[str, dict[str, Any]]], *links: str) -> Drawing:
    """Nodes by id, each a block id with constants; links as `source.pin -> sink.pin`."""
    drawn = [Node(id=name, block_id=block_id, input_default=constants) for name, (block_id, constants) in nodes.items()]
    return Drawing(drawn, [_link(text) for text in links])


def _link(text: str) -> Link:
    source, sink = (end.strip() for end in text.split("->"))
    source_id, source_name = source.split(".", 1)
    sink_id, sink_name = sink.split(".", 1)
    return Link(source_id=source_id, source_name=source_name, sink_id=sink_id, sink_name=sink_name)


def agent(
    graph_id: str, version: int, inputs: dict[str, Any], pins_in: str, pins_out: str
) -> tuple[str, dict[str, Any]]:
    """A node that runs another graph, with these inputs and pins (names with spaces between)."""
    schema = [{"type": "object", "properties": {name: {} for name in pins.split()}} for pins in (pins_in, pins_out)]
    constants = {"user_id": "", "graph_id": graph_id, "graph_version": version, "inputs": inputs}
    return AGENT, constants | {"input_schema": schema[0], "output_schema": schema[1]}
