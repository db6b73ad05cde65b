"""The engine alone: a chain of 1,000 pure nodes in memory, on one core.

Baseline: the same engine and blocks with one asyncio task per node, the common way to execute nodes. For comparison
also the same blocks with no engine at all, values handed from future to future: a bound on what an engine can reach.
"""

import asyncio
import gc
from time import perf_counter

import msgspec

from agentplat.blocks import service as blocks
from agentplat.engine.activation import StartNode
from agentplat.engine.compile import compile_graph
from agentplat.engine.graph import Link, Node
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import NodeEnded, RunBegan
from agentplat.engine.plan import Plan
from agentplat.sdk import Context
from benchmarks.graphs import chain
from benchmarks.report import Result, figure

NODES = 1000
ROUNDS = 15


def main() -> Result:
    drawn = chain(NODES)
    plan = compile_graph(
        msgspec.convert(drawn["nodes"], list[Node]), msgspec.convert(drawn["links"], list[Link]), blocks.specs()
    )
    ours = [_rate(_run, plan) for _ in range(ROUNDS)]
    baseline = [_rate(_run_tasks, plan) for _ in range(ROUNDS)]
    bare = figure("no engine, one task per node", "1/s", [_rate(_run_bare, plan) for _ in range(ROUNDS)])
    mine, theirs = figure("executions", "1/s", ours), figure("one task per node", "1/s", baseline)
    return Result(
        case="engine_chain",
        what=f"chain of {NODES} pure nodes in memory, one core",
        target=">= 100,000 executions/s",
        figures=[mine, bare],
        baseline=theirs,
        ratio=mine.median / theirs.median,
    )


def _rate(run: object, plan: Plan) -> float:
    gc.collect()
    began = perf_counter()
    run(plan)  # type: ignore[operator]
    return NODES / (perf_counter() - began)


def _run(plan: Plan) -> None:
    machine = RunMachine(plan, 0)
    context = Context(user_id="bench")
    commands = machine.feed(RunBegan(1))
    done = 0
    while isinstance(command := commands[0], StartNode):
        act = command.activation
        block = blocks.get(act.node.spec.id)
        assert block is not None
        assert act.data is not None
        outcome = blocks.run_inline(block(), act.data, context)
        commands = machine.feed(NodeEnded(act.number, 2, outcome.outputs, outcome.error, 2))
        done += 1
    assert done == NODES


def _run_tasks(plan: Plan) -> None:
    asyncio.run(_tasks(plan))


async def _tasks(plan: Plan) -> None:
    machine = RunMachine(plan, 0)
    context = Context(user_id="bench")

    async def execute(command: StartNode) -> NodeEnded:
        act = command.activation
        block = blocks.get(act.node.spec.id)
        assert block is not None
        assert act.data is not None
        outputs = [pair async for pair in blocks.stream(block(), act.data, context)]
        return NodeEnded(act.number, 2, outputs, None, 2)

    commands = machine.feed(RunBegan(1))
    while isinstance(command := commands[0], StartNode):
        commands = machine.feed(await asyncio.create_task(execute(command)))


def _run_bare(plan: Plan) -> None:
    asyncio.run(_bare(plan))


async def _bare(plan: Plan) -> None:
    context = Context(user_id="bench")

    async def execute(spec_id: str, value: asyncio.Future[object]) -> object:
        block = blocks.get(spec_id)
        assert block is not None
        return blocks.run_inline(block(), {"input": await value}, context).outputs[0][1]

    value: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    value.set_result(1)
    for node in plan.nodes:
        value = asyncio.ensure_future(execute(node.spec.id, value))
    await value
