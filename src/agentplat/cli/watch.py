"""`agentplat watch`."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import click
import msgspec
from msgspec import Raw

from agentplat.cli.console import fail, out
from agentplat.cli.platform_client import PlatformClient
from agentplat.cli.progress import Display, Tally
from agentplat.cli.supervisor import interruptible, running
from agentplat.cli.target import EMAIL
from agentplat.cli.token import development_token
from agentplat.client import ClientError, Event, NodeEvent, Run, Snapshot
from agentplat.infra.errors import ConfigError
from agentplat.infra.settings import get_settings

# By the run's final status; 2 is what commands that were called wrongly exit with.
STATUSES = {"COMPLETED": 0, "FAILED": 1, "TERMINATED": 3}
NOT_WATCHED = 2
INTERRUPTED = 130


@click.command("watch")
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event: seq, event, data.")
@click.option(
    "--from",
    "last_event",
    type=click.IntRange(0),
    metavar="N",
    help="Only what comes after event number N.  [default: 0, so everything]",
)
@click.option("--url", envvar="AGENTPLAT_URL", help="The platform to use.  [default: the one running here]")
@click.option(
    "--token", envvar="AGENTPLAT_TOKEN", help="Who watches.  [default: you@example.com, by this machine's key]"
)
def command(run_id: str, as_json: bool, last_event: int | None, url: str | None, token: str | None) -> None:
    """Watch a run live until it is over, also one that is over already.

    At a terminal a tree of its nodes; in a pipe a line per event with its number, kind, status, and for nodes the name.
    A connection that breaks is made again, and nothing is missed or shown twice. Ctrl-C ends watching, not the run.

    Exit status 0 if the run was COMPLETED, 1 if it FAILED, 3 if it was TERMINATED, 2 if it can't be watched.
    """
    settings = get_settings()
    if url is None:
        if (state := running(settings)) is None:
            raise ConfigError(f"No platform runs on {settings.home}.", hint="Name one with --url or AGENTPLAT_URL.")
        url = state.url
    try:
        with interruptible():
            run = asyncio.run(_watch(url, token or development_token(EMAIL), run_id, last_event, as_json))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except ClientError as error:
        fail(error, NOT_WATCHED)
    raise SystemExit(STATUSES[run.status])


async def _watch(url: str, token: str, run_id: str, last_event: int | None, as_json: bool) -> Run:
    async with PlatformClient(url, token) as client:
        if as_json:
            return await _lines(client, run_id, last_event or 0, _json)
        names = await client.block_names()
        run = await client.get(run_id)
        tally = Tally(await client.graph(run.graph_id, run.graph_version), names)
        if out.is_terminal and last_event is None:
            return await _tree(client, run_id, tally)
        return await _lines(client, run_id, last_event or 0, lambda event: _line(event, tally))


async def _lines(client: PlatformClient, run_id: str, last_event: int, text: Callable[[Event], str]) -> Run:
    async with aclosing(client.watch(run_id, last_event)) as events:
        async for event in events:
            click.echo(text(event))
    return await client.get(run_id)


def _json(event: Event) -> str:
    kind = "node_execution_event" if isinstance(event, NodeEvent) else "graph_execution_event"
    return msgspec.json.encode({"seq": event.seq, "event": kind, "data": Raw(event.raw)}).decode()


def _line(event: Event, tally: Tally) -> str:
    if isinstance(event, NodeEvent):
        node = tally.nodes.get(event.node.node_id)
        return f"{event.seq}\tnode\t{event.node.status}\t{node.name if node else event.node.node_id}"
    return f"{event.seq}\trun\t{event.run.status}"


async def _tree(client: PlatformClient, run_id: str, tally: Tally) -> Run:
    """A tree shows how things stand, so it begins with that and not with what came before."""
    display = Display(out, tally)
    async with display.showing(), aclosing(client.watch(run_id, snapshot=True)) as events:
        async for event in events:
            if isinstance(event, NodeEvent):
                tally.take(event.node)
                continue
            if isinstance(event, Snapshot):
                tally.restart(event.nodes)
            tally.take_run(event.run)
    run = await client.get(run_id)
    tally.settle(run)
    display.close()
    return run
