"""How far a run is, node by node: a live table at a terminal, lines elsewhere. Executions are counted, not listed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from time import perf_counter

from msgspec import Struct, field
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from agentplat.cli.platform_client import FINAL, Graph, NodeEvent, NodeRun

# Events of one node execution may come twice, or late: what is known moves only to the right.
_ORDER = ("INCOMPLETE", "QUEUED", "RUNNING", "REVIEW", "COMPLETED", "FAILED", "TERMINATED")
_WORDS = {
    "COMPLETED": "done",
    "FAILED": "failed",
    "TERMINATED": "stopped",
    "REVIEW": "in review",
    "RUNNING": "running",
    "QUEUED": "queued",
    "INCOMPLETE": "waiting for input",
}
_COLOURS = {"COMPLETED": "green", "FAILED": "red", "TERMINATED": "yellow", "RUNNING": "cyan", "REVIEW": "magenta"}
REFRESH_PER_SECOND = 8
LINES_EVERY_SECONDS = 0.5


class NodeTally(Struct, kw_only=True):
    """One node, and its executions by status."""

    id: str
    name: str
    block: str
    counts: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        return ", ".join(f"{self.counts[status]} {word}" for status, word in _WORDS.items() if self.counts[status])


class Tally:
    """The executions of all nodes of one graph, as far as is known."""

    def __init__(self, graph: Graph, block_names: Mapping[str, str]) -> None:
        self.nodes: dict[str, NodeTally] = {}
        for node in graph.nodes:
            block = block_names.get(node.block_id, node.block_id).removesuffix("Block")
            named = node.metadata.get("customized_name") or node.input_default.get("name")
            self.nodes[node.id] = NodeTally(id=node.id, name=str(named or block), block=block)
        self._statuses: dict[str, str] = {}

    def take(self, event: NodeEvent | NodeRun) -> None:
        known = self._statuses.get(event.node_exec_id)
        if known is not None and _ORDER.index(event.status) <= _ORDER.index(known):
            return
        if (node := self.nodes.get(event.node_id)) is None:
            return
        self._statuses[event.node_exec_id] = event.status
        if known is not None:
            node.counts[known] -= 1
        node.counts[event.status] += 1

    def settle(self, executions: Iterable[NodeRun]) -> None:
        """Take over what the platform says about the whole run: events before the subscription were not seen."""
        self._statuses.clear()
        for node in self.nodes.values():
            node.counts.clear()
        for execution in executions:
            self.take(execution)

    def total(self, *statuses: str) -> int:
        return sum(node.counts[status] for node in self.nodes.values() for status in statuses)


class Display:
    """Shows a tally while it changes."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console = console
        self._tally = tally
        self._began = perf_counter()
        self._shown: dict[str, str] = {}

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        if self._console.is_terminal:
            with Live(
                get_renderable=self._table, console=self._console, refresh_per_second=REFRESH_PER_SECOND, transient=True
            ):
                yield
            return
        printing = asyncio.create_task(self._print_regularly())
        try:
            yield
        finally:
            printing.cancel()

    def close(self) -> None:
        """Leave the final state on the screen."""
        if self._console.is_terminal:
            self._console.print(self._table(), soft_wrap=False)
        else:
            self._print_lines()

    async def _print_regularly(self) -> None:
        while True:
            await asyncio.sleep(LINES_EVERY_SECONDS)
            self._print_lines()

    def _print_lines(self) -> None:
        """One line for each node that has changed since the last time."""
        for node in self._tally.nodes.values():
            summary = node.summary()
            if summary and summary != self._shown.get(node.id):
                self._shown[node.id] = summary
                self._console.out(f"  {node.name} ({node.block}): {summary}", highlight=False)

    def _table(self) -> Table:
        table = Table("Node", "Block", "Executions", box=None, header_style="bold", pad_edge=False)
        for node in self._tally.nodes.values():
            counts = [
                f"[{_COLOURS.get(status, 'dim')}]{node.counts[status]} {word}[/]"
                for status, word in _WORDS.items()
                if node.counts[status]
            ]
            table.add_row(escape(node.name), f"[dim]{escape(node.block)}[/]", ", ".join(counts) or "[dim]-[/]")
        done = self._tally.total(*FINAL)
        table.caption = f"{done:,} node executions in {perf_counter() - self._began:.1f} s"
        table.caption_justify = "left"
        return table
