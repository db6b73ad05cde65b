"""`agentplat run`."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from agentplat.cli import report
from agentplat.cli.console import err, fail, out, problems_of
from agentplat.cli.follow import Follower, Outcome
from agentplat.cli.inputs import CredentialsMissing, InputsMissing, choose_credentials, parse_inputs, unknown_inputs
from agentplat.cli.platform_client import Graph, PlatformClient
from agentplat.cli.progress import Display, Tally
from agentplat.cli.supervisor import interruptible
from agentplat.cli.target import Target, target
from agentplat.client import Refused
from agentplat.infra.errors import AppError
from agentplat.infra.settings import get_settings

USAGE = 2


@click.command("run")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input; @FILE takes it from a file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--url", envvar="AGENTPLAT_URL", help="The platform to use.  [default: the one running here, or a new one]"
)
@click.option(
    "--token", envvar="AGENTPLAT_TOKEN", help="Who runs it there.  [default: you@example.com, by this machine's key]"
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Stop the run after so many seconds.")
@click.option("--timings", is_flag=True, help="Show also where the platform says that the time went, node by node.")
def command(
    file: Path,
    inputs: tuple[str, ...],
    as_json: bool,
    url: str | None,
    token: str | None,
    timeout: float | None,
    timings: bool,
) -> None:
    """Import the agent in FILE and run it once.

    A value is read as JSON where it is JSON and the input isn't a text. Credentials inputs get the platform's own
    credentials. Exit status 0 if the run was COMPLETED; 1 if it failed, was stopped or took too long; 2 if it could
    not be started. Ctrl-C stops the run.
    """

    def say(text: str) -> None:
        if not as_json:
            err.print(f"[dim]{escape(text)}[/]")

    document = read_agent(file)
    try:
        with interruptible(), target(get_settings(), url, token, say) as where:
            result = asyncio.run(_run(where, document, inputs, timeout, say, as_json, timings))
    except KeyboardInterrupt:
        err.print("Stopped.")
        raise SystemExit(1) from None
    except (Refused, InputsMissing, CredentialsMissing) as error:
        refuse(error, as_json)
    raise SystemExit(0 if result.run.status == "COMPLETED" else 1)


def read_agent(file: Path) -> dict[str, Any]:
    """The agent in an exported file."""
    try:
        document = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise click.UsageError(f"{file} can't be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise click.UsageError(f"{file} is no agent: it has no list of nodes")
    return document


def refuse(error: AppError | Refused, as_json: bool) -> NoReturn:
    """The agent could not be imported or started: say everything that is wrong with it."""
    if as_json:
        problem = {"code": error.code, "message": error.message, "problems": problems_of(error)}
        click.echo(msgspec.json.encode({"status": None, "error": problem}))
    fail(error, USAGE)


async def _run(
    where: Target,
    document: Mapping[str, Any],
    given: tuple[str, ...],
    timeout: float | None,
    say: Callable[[str], None],
    as_json: bool,
    timings: bool,
) -> Outcome:
    async with PlatformClient(where.url, where.token) as client:
        graph = await client.import_graph(document)
        for found in graph.warnings:
            place = f"node {found.node_id}, {found.field}"
            err.print(f"[yellow]Warning:[/] {escape(place)}: {escape(found.message)}")
        try:
            inputs = parse_inputs(given, graph.input_schema)
            credentials = choose_credentials(graph.credentials_input_schema)
        except (AppError, click.UsageError):
            await client.delete_graph(graph)
            raise
        if warning := unknown_inputs(inputs, graph.input_schema):
            err.print(f"[yellow]Warning:[/] {escape(warning)}")
        for key, chosen in credentials.items():
            say(f"Using the platform's own {chosen['provider']} credentials ({chosen['id']}) for {key}.")
        tally = Tally(graph, await client.block_names())
        if as_json:
            outcome = await follow(client, graph, tally, inputs, credentials, timeout=timeout)
            more = {"platform": {"url": client.url, "started": where.started, "fake_llm": where.fake_llm}}
            click.echo(msgspec.json.encode(report.document(graph, outcome, tally, **more)))
        else:
            outcome = await watch(client, graph, tally, inputs, credentials, timeout=timeout, timings=timings)
        return outcome


async def watch(
    client: PlatformClient,
    graph: Graph,
    tally: Tally,
    inputs: Mapping[str, Any],
    credentials: Mapping[str, Any],
    *,
    timeout: float | None = None,
    timings: bool = False,
    progress: Console = err,
) -> Outcome:
    """Run it with live progress, and report."""
    display = Display(progress, tally)
    async with display.showing():
        outcome = await follow(client, graph, tally, inputs, credentials, timeout=timeout)
    display.close()
    if outcome.cut == "timeout":
        err.print(f"[yellow]Not finished after {timeout:g} s: stopped.[/]")
    elif outcome.cut == "interrupted":
        err.print("[yellow]Stopped.[/]")
    report.show(out, outcome, tally, timings=timings)
    return outcome


async def follow(
    client: PlatformClient,
    graph: Graph,
    tally: Tally,
    inputs: Mapping[str, Any],
    credentials: Mapping[str, Any],
    *,
    timeout: float | None = None,
) -> Outcome:
    """Run it to its end, or until Ctrl-C stops it."""
    interrupted = asyncio.Event()
    with _stopping(interrupted):
        follower = Follower(client, graph, tally)
        return await follower.run(inputs, credentials, timeout=timeout, interrupted=interrupted)


@contextmanager
def _stopping(interrupted: asyncio.Event) -> Iterator[None]:
    """The first signal stops the run, and the platform is waited for; the second one doesn't wait."""
    loop = asyncio.get_running_loop()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(interrupted.set)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
