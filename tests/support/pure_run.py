"""Runs a graph with the engine and real blocks, and nothing else: no clock, no event loop, no database.

`pick` decides which of the started activations ends next, so a test can let them end in any order.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentplat.blocks.runner import BlockFailure, Outcome, run_inline, stream
from agentplat.engine.activation import Activation, FinishRun, StartNode
from agentplat.engine.compile import compile_graph
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, NodeEnded, NodeStarted, RunBegan, RunEnded
from agentplat.sdk import Block, Context
from tests.support.drawing import Drawing

Pick = Callable[[Sequence[Activation]], int]


def first(_started: Sequence[Activation]) -> int:
    return 0


class PureRun:
    """After construction the run is over: see `machine` and `log`."""

    def __init__(
        self,
        drawing: Drawing,
        blocks: Mapping[str, type[Block]],
        inputs: dict[str, Any] | None = None,
        masks: dict[str, dict[str, Any]] | None = None,
        pick: Pick | None = None,
        limit: int = 5000,
    ) -> None:
        self._blocks = blocks
        specs = {block_id: block.spec for block_id, block in blocks.items()}
        self.plan = compile_graph(drawing.nodes, drawing.links, specs)
        self.inputs = inputs or {}
        self.masks = masks or {}
        self.machine = self.fresh()
        self.log: list[Message] = []
        self._now = 1_700_000_000_000_000
        self._run(pick, limit)

    def fresh(self) -> RunMachine:
        return RunMachine(self.plan, 1_700_000_000_000_000, self.inputs, self.masks)

    def feed(self, message: Message) -> list[Any]:
        self.log.append(message)
        return list(self.machine.feed(message))

    def tick(self) -> int:
        self._now += 1000
        return self._now

    def _run(self, pick: Pick | None, limit: int) -> None:
        """Without `pick` nodes run inline, one after another; with it they are all started at once."""
        queue: list[Activation] = []
        commands = self.feed(RunBegan(self.tick()))
        while True:
            for command in commands:
                if isinstance(command, FinishRun):
                    self.feed(RunEnded(self.tick()))
                    return
                assert isinstance(command, StartNode)
                queue.append(command.activation)
                if pick is not None:
                    self.feed(NodeStarted(command.activation.number, self.tick()))
            assert len(self.machine.activations) < limit, "the run does not end"
            act = queue.pop(pick(queue) if pick else 0)
            outcome = self._execute(act)
            started = None if pick is not None else self.tick()
            commands = self.feed(NodeEnded(act.number, self.tick(), outcome.outputs, outcome.error, started))

    def _execute(self, act: Activation) -> Outcome:
        block = self._blocks[act.node.spec.id]()
        assert act.data is not None
        data = act.data
        if act.node.spec.inline:
            return run_inline(block, data, Context(user_id="u"))
        return asyncio.run(_collect(block, {**data, "delay": 0}))

    def nodes(self) -> dict[str, list[dict[str, Any]]]:
        """Per node its activations in order of queueing, as `status`, `input`, `output`."""
        found: dict[str, list[dict[str, Any]]] = {}
        order = sorted(self.machine.activations, key=lambda act: (act.queued_at is None, act.queued_at or act.added_at))
        for act in order:
            found.setdefault(act.node.id, []).append(
                {
                    "status": str(act.status),
                    "input": act.received if act.data is None else act.data,
                    "output": act.outputs,
                }
            )
        return found


async def _collect(block: Block, data: dict[str, Any]) -> Outcome:
    outputs: list[tuple[str, Any]] = []
    try:
        async for name, value in stream(block, data, Context(user_id="u")):
            outputs.append((name, value))
    except BlockFailure as failure:
        return Outcome(outputs, str(failure))
    return Outcome(outputs)
