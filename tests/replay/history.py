"""The form in which the journals of real runs are kept: all that the machine is fed, and what came of it."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agentplat.blocks.registry import Registry
from agentplat.engine.compile import compile_graph
from agentplat.engine.graph import Link, Node
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import decode

JOURNALS = Path(__file__).parent / "journals"
SPECS = {block_id: block.spec for block_id, block in Registry.load(["tests.support.blocks"]).blocks.items()}


class Seen(Struct, kw_only=True):
    """What can be seen of a final run. `activations` are node, status, input, output and the four times of each."""

    status: str
    error: str | None
    node_count: int
    error_count: int
    nodes_walltime: int
    cost: int = 0
    outputs: dict[str, list[Any]]
    activations: list[list[Any]]


class History(Struct, kw_only=True):
    """`rows` are the journal's rows, each with the fence that it was written under; a change of it is a recovery."""

    name: str
    nodes: list[Node]
    links: list[Link]
    accepted_at: int
    inputs: dict[str, Any]
    masks: dict[str, dict[str, Any]]
    skipped: list[str]
    rows: list[tuple[int, msgspec.Raw]]
    seen: Seen

    def replay(self) -> RunMachine:
        plan = compile_graph(self.nodes, self.links, SPECS)
        machine = RunMachine(plan, self.accepted_at, self.inputs, self.masks, frozenset(self.skipped))
        for _, body in self.rows:
            for message in decode(bytes(body)):
                machine.feed(message)
        return machine


def seen_of(machine: RunMachine) -> Seen:
    seen = Seen(
        status=machine.status,
        error=machine.error,
        node_count=machine.node_count,
        error_count=machine.error_count,
        nodes_walltime=machine.nodes_walltime,
        cost=machine.cost,
        outputs=machine.outputs,
        activations=[
            [
                act.node.id,
                act.status,
                act.received if act.data is None else act.data,
                act.outputs,
                [act.added_at, act.queued_at, act.started_at, act.ended_at],
            ]
            for act in machine.activations
        ],
    )
    return msgspec.json.decode(msgspec.json.encode(seen), type=Seen)


def read(path: Path) -> History:
    return msgspec.json.decode(path.read_bytes(), type=History)


def write(history: History) -> None:
    """One line per member and per journal row would be too long to read and one line for all too long to compare."""
    path = JOURNALS / f"{history.name.lower().replace(' ', '-')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(history), indent=1) + b"\n")
