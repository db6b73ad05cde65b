"""What is told about a run that has ended: for people, and as one JSON document."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentplat.cli.follow import PHASES, Outcome
from agentplat.cli.platform_client import Graph
from agentplat.cli.progress import Tally, error_of
from agentplat.client import FINAL, NodeExecution

# What the platform tells of a run, and of one execution of a node.
MOMENTS = ("enqueued", "leased", "first_node_started", "finished")
SPANS = ("waited", "executed", "recorded")
MOST_VALUES = 20
MOST_FAILURES = 10
# JSON that is longer is shown on several lines.
LONG_JSON = 80
_COLOURS = {"COMPLETED": "green", "TERMINATED": "yellow"}


def show(console: Console, outcome: Outcome, tally: Tally, *, timings: bool = False) -> None:
    """Outputs first: they are what the run was for. With `timings` also where the platform says the time went."""
    _show_outputs(console, outcome)
    _show_failures(console, outcome, tally)
    _show_phases(console, outcome)
    if timings:
        _show_platform_phases(console, outcome)
        _show_nodes(console, outcome, tally)
    _show_end(console, outcome, tally)


def _show_outputs(console: Console, outcome: Outcome) -> None:
    console.print("[bold]Outputs[/]" if outcome.run.outputs else "[bold]No outputs[/]")
    for name, values in outcome.run.outputs.items():
        for number, value in enumerate(values[:MOST_VALUES]):
            label = name if number == 0 else ""
            console.print(f"  [bold cyan]{escape(label):<12}[/] {escape(_text(value))}")
        if (more := len(values) - MOST_VALUES) > 0:
            console.print(f"  {'':<12} [dim]and {more:,} more; --json has them all[/]")


def _text(value: Any) -> str:
    """Text as it is, anything else as JSON; further lines are indented like the first."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if not isinstance(value, str) and len(text) > LONG_JSON:
        text = msgspec.json.format(text, indent=2)
    return text.replace("\n", "\n" + " " * 15)


def _show_failures(console: Console, outcome: Outcome, tally: Tally) -> None:
    failed = _failed(outcome)
    if failed:
        console.print("[bold]Failed nodes[/]")
    for execution in failed[:MOST_FAILURES]:
        node = tally.nodes.get(execution.node_id)
        console.print(f"  [red]{escape(node.name if node else execution.node_id)}[/]: {escape(error_of(execution))}")
    if (more := len(failed) - MOST_FAILURES) > 0:
        console.print(f"  [dim]and {more:,} more[/]")


def _failed(outcome: Outcome) -> list[NodeExecution]:
    return [execution for execution in outcome.run.node_executions if execution.status == "FAILED"]


def _show_phases(console: Console, outcome: Outcome) -> None:
    console.print("[bold]Time[/] [dim]since the request was sent, as seen here[/]")
    _show_moments(console, {name: outcome.phases.get(name) for name in PHASES})


def _show_platform_phases(console: Console, outcome: Outcome) -> None:
    told = (outcome.run.stats.timings if outcome.run.stats else None) or {}
    console.print("[bold]Time[/] [dim]since the run was accepted, as the platform has recorded it[/]")
    _show_moments(console, {name.replace("_", " "): told.get(name) for name in MOMENTS})


def _show_moments(console: Console, moments: Mapping[str, float | None]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    before = 0.0
    for name, at in moments.items():
        if at is None:
            table.add_row(f"  {name}", "[dim]-[/]", "")
        else:
            table.add_row(f"  {name}", f"{_milliseconds(at)}", f"[dim](+{_milliseconds(at - before)})[/]")
            before = at
    table.columns[1].justify = table.columns[2].justify = "right"
    console.print(table, soft_wrap=False)


def _show_nodes(console: Console, outcome: Outcome, tally: Tally) -> None:
    table = Table("  Node", "Executions", *SPANS, box=None, header_style="bold", pad_edge=False)
    for node_id, (number, means) in node_timings(outcome.run.node_executions).items():
        node = tally.nodes.get(node_id)
        shown = ["[dim]-[/]" if mean is None else _milliseconds(mean) for mean in means.values()]
        table.add_row(f"  {escape(node.name if node else node_id)}", f"{number:,}", *shown)
    for column in table.columns[1:]:
        column.justify = "right"
    console.print("[bold]Nodes[/] [dim]and where the time of one execution of theirs went, on average[/]")
    console.print(table, soft_wrap=False)


def node_timings(executions: Iterable[NodeExecution]) -> dict[str, tuple[int, dict[str, float | None]]]:
    """By node: how often it was executed, and the mean seconds of each span, as far as any execution tells."""
    by_node: dict[str, list[NodeExecution]] = {}
    for execution in executions:
        by_node.setdefault(execution.node_id, []).append(execution)
    return {node_id: (len(all_), {span: _mean(all_, span) for span in SPANS}) for node_id, all_ in by_node.items()}


def _mean(executions: Sequence[NodeExecution], span: str) -> float | None:
    known = [seconds for execution in executions if (seconds := execution.timings.get(span)) is not None]
    return fmean(known) if known else None


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def _show_end(console: Console, outcome: Outcome, tally: Tally) -> None:
    status = outcome.run.status
    seconds = outcome.run.stats.duration if outcome.run.stats else 0.0
    counts = f"{tally.total(*FINAL):,} node executions in {_milliseconds(seconds)} on the worker"
    if failed := tally.total("FAILED"):
        counts += f", {failed:,} of them failed"
    if waiting := tally.total("INCOMPLETE"):
        counts += f"; {waiting:,} more waited for input that never came"
    console.print(f"[bold {_COLOURS.get(status, 'red')}]{status}[/]: {counts}")
    if outcome.run.stats and outcome.run.stats.error:
        console.print(f"  {escape(outcome.run.stats.error)}")


def document(graph: Graph, outcome: Outcome, tally: Tally, **more: Any) -> dict[str, Any]:
    """Everything that `--json` prints."""
    run = outcome.run
    spans = {node_id: means for node_id, (_, means) in node_timings(run.node_executions).items()}
    return {
        "status": run.status,
        "outputs": run.outputs,
        "graph": {"id": graph.id, "version": graph.version, "name": graph.name},
        "run": {"id": run.id, "started_at": run.started_at, "ended_at": run.ended_at, "stopped_by": outcome.cut},
        "phases_ms": {
            name.replace(" ", "_"): round(outcome.phases[name] * 1000, 3) if name in outcome.phases else None
            for name in PHASES
        },
        "stats": run.stats,
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "block": node.block,
                "executions": +node.counts,
                "mean_seconds": spans.get(node.id, dict.fromkeys(SPANS)),
            }
            for node in tally.nodes.values()
        ],
        "failed": [{"node_id": execution.node_id, "error": error_of(execution)} for execution in _failed(outcome)],
        **more,
    }
