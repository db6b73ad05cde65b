"""What durability costs: one run of 10,001 executions from the POST to its final event, with every outcome in Postgres.

Baseline: the same graph on the bare engine, in memory, in one call.
"""

import asyncio
import gc
from collections import deque
from time import perf_counter

import msgspec

from agentplat.blocks import service as blocks
from agentplat.cli.supervisor import Platform
from agentplat.engine.activation import Activation, Command, StartNode
from agentplat.engine.compile import compile_graph, repair_static
from agentplat.engine.graph import Link, Node
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import NodeEnded, RunBegan
from agentplat.engine.plan import Plan
from agentplat.sdk import Context
from benchmarks.client import Client, final_of
from benchmarks.graphs import fan_out
from benchmarks.platform import started
from benchmarks.report import Result, figure

ITEMS, DEPTH = 5_000, 2
EXECUTIONS = 1 + ITEMS * DEPTH
ROUNDS = 7


def main() -> Result:
    with started() as (platform, token):
        durable = asyncio.run(_durable(platform, token))
    drawn = fan_out(ITEMS, DEPTH)
    nodes = msgspec.convert(drawn["nodes"], list[Node])
    links = repair_static(nodes, msgspec.convert(drawn["links"], list[Link]), blocks.specs())
    plan = compile_graph(nodes, links, blocks.specs())
    mine = figure("durable", "1/s", durable)
    theirs = figure("in memory", "1/s", [_in_memory(plan) for _ in range(ROUNDS)])
    return Result(
        case="durability",
        what=f"one run of {EXECUTIONS} executions, durable and in memory",
        target="the ratio, for comparison",
        figures=[mine],
        baseline=theirs,
        ratio=mine.median / theirs.median,
    )


async def _durable(platform: Platform, token: str) -> list[float]:
    rates = []
    async with Client(platform.url, token) as client:
        graph = await client.create(fan_out(ITEMS, DEPTH))
        socket = await client.watch(graph)
        for number in range(1 + ROUNDS):
            began = perf_counter()
            run_id = await client.start(graph)
            assert await final_of(socket) == (run_id, "COMPLETED")
            if number:  # the first round warms up
                rates.append(EXECUTIONS / (perf_counter() - began))
        await socket.close()
    return rates


def _in_memory(plan: Plan) -> float:
    gc.collect()
    context = Context(user_id="bench")
    began = perf_counter()
    machine = RunMachine(plan, 0)
    ready: deque[Activation] = deque()
    _add(ready, machine.feed(RunBegan(1)))
    done = 0
    while ready:
        act = ready.popleft()
        block = blocks.get(act.node.spec.id)
        assert block is not None
        assert act.data is not None
        outcome = blocks.run_inline(block(), act.data, context)
        _add(ready, machine.feed(NodeEnded(act.number, 2, outcome.outputs, outcome.error, 2)))
        done += 1
    assert done == EXECUTIONS
    return EXECUTIONS / (perf_counter() - began)


def _add(ready: deque[Activation], commands: list[Command]) -> None:
    ready.extend(command.activation for command in commands if isinstance(command, StartNode))
