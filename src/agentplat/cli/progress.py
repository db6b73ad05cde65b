"""How far a run is, node by node: a live tree at a terminal, lines elsewhere. Executions are counted, not listed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from time import perf_counter

from msgspec import Struct, field
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from agentplat.cli.platform_client import Graph
from agentplat.client import FINAL, NodeExecution, Run

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
COLOURS = {"COMPLETED": "green", "FAILED": "red", "TERMINATED": "yellow", "RUNNING": "cyan", "REVIEW": "magenta"}
REFRESH_PER_SECOND = 8
LINES_EVERY_SECONDS = 0.5


class NodeTally(Struct, kw_only=True):
    """One node, and its executions by status."""

    id: str
    name: str
    block: str
    counts: Counter[str] = field(default_factory=Counter)
    error: str = ""

    def summary(self) -> str:
        return ", ".join(f"{self.counts[status]} {word}" for status, word in _WORDS.items() if self.counts[status])


class Tally:
    """The executions of all nodes of one graph, as far as is known."""

    def __init__(self, graph: Graph, block_names: Mapping[str, str]) -> None:
        self.name = graph.name
        self.status = "QUEUED"
        self.nodes: dict[str, NodeTally] = {}
        for node in graph.nodes:
            block = block_names.get(node.block_id, node.block_id).removesuffix("Block")
            named = node.metadata.get("customized_name") or node.input_default.get("name")
            self.nodes[node.id] = NodeTally(id=node.id, name=str(named or block), block=block)
        self._statuses: dict[str, str] = {}

    def take(self, event: NodeExecution) -> None:
        known = self._statuses.get(event.node_exec_id)
        if known is not None and _ORDER.index(event.status) <= _ORDER.index(known):
            return
        if (node := self.nodes.get(event.node_id)) is None:
            return
        self._statuses[event.node_exec_id] = event.status
        if known is not None:
            node.counts[known] -= 1
        node.counts[event.status] += 1
        if event.status == "FAILED":
            node.error = error_of(event)

    def take_run(self, run: Run) -> None:
        self.status = run.status

    def settle(self, run: Run) -> None:
        """Take over what the platform says about the whole run: not all of its events may have been seen."""
        self.restart(run.node_executions)
        self.take_run(run)

    def restart(self, executions: Iterable[NodeExecution]) -> None:
        """Forget what was seen; these are all executions there are."""
        self._statuses.clear()
        for node in self.nodes.values():
            node.counts.clear()
            node.error = ""
        for execution in executions:
            self.take(execution)

    def total(self, *statuses: str) -> int:
        return sum(node.counts[status] for node in self.nodes.values() for status in statuses)


def error_of(execution: NodeExecution) -> str:
    return " ".join(str(text) for text in execution.output_data.get("error", ())) or "it gave no reason"


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
                get_renderable=self._tree, console=self._console, refresh_per_second=REFRESH_PER_SECOND, transient=True
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
            self._console.print(self._tree(), soft_wrap=False)
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

    def _tree(self) -> Tree:
        tally = self._tally
        done = tally.total(*FINAL)
        seconds = perf_counter() - self._began
        colour = COLOURS.get(tally.status, "dim")
        tree = Tree(
            f"[bold]{escape(tally.name)}[/]  [{colour}]{tally.status}[/]"
            f"  [dim]{done:,} node executions in {seconds:.1f} s[/]",
            guide_style="dim",
        )
        for node in tally.nodes.values():
            counts = [
                f"[{COLOURS.get(status, 'dim')}]{node.counts[status]} {word}[/]"
                for status, word in _WORDS.items()
                if node.counts[status]
            ]
            shown = ", ".join(counts) or "[dim]-[/]"
            branch = tree.add(f"{escape(node.name)}  [dim]{escape(node.block)}[/]  {shown}")
            if node.error:
                branch.add(Text(node.error, style="red", no_wrap=True, overflow="ellipsis"))
        return tree
