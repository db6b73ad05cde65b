"""`agentplat demo`, which is what `make demo` runs. Only the language model is faked, for lack of a key, as it says."""

import asyncio
import shutil
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from msgspec import Struct
from rich.markup import escape

import agentplat
from agentplat.cli.console import err, out
from agentplat.cli.follow import Outcome
from agentplat.cli.inputs import choose_credentials
from agentplat.cli.platform_client import PlatformClient
from agentplat.cli.progress import Tally
from agentplat.cli.run import read_agent, watch
from agentplat.cli.supervisor import interruptible, reachable_host
from agentplat.cli.target import EMAIL, Target, started_target
from agentplat.infra.errors import AppError, ConfigError
from agentplat.infra.settings import get_settings

PACKAGE = Path(agentplat.__file__).parent


class Scene(Struct, frozen=True, kw_only=True):
    """One sample agent, and what there is to see."""

    file: str
    shows: str
    inputs: dict[str, Any]


SCENES = (
    Scene(file="greeting.json", shows="six nodes: inputs, a template, outputs", inputs={"name": "world"}),
    Scene(file="expenses.json", shows="a node that fails, and a run that carries on", inputs={}),
    Scene(file="slogans.json", shows="a loop around a language model", inputs={"tone": "cheerful"}),
    Scene(file="squares.json", shows="thousands of node executions", inputs={}),
)


class DemoFailed(AppError):
    """A sample did not run as it should."""


@click.command("demo")
def command() -> None:
    """Run sample agents end to end, from nothing, and leave nothing running.

    Starts Postgres, Valkey, the API server and a worker, imports the agents, runs them, watches them live over the
    WebSocket and stops everything again.
    """
    began = perf_counter()

    def say(text: str) -> None:
        out.print(f"[dim]{escape(text)}[/]")

    try:
        with interruptible(), started_target(get_settings(), say) as where:
            say(f"The platform runs at {where.url} after {perf_counter() - began:.1f} s.")
            asyncio.run(_play(where))
            say("Stopping everything ...")
    except KeyboardInterrupt:
        err.print("Stopped.")
        raise SystemExit(1) from None
    out.print(f"\n[bold green]All {len(SCENES)} agents completed, in {perf_counter() - began:.1f} s altogether.[/]")
    _what_next()


async def _play(where: Target) -> None:
    async with PlatformClient(where.url, where.token) as client:
        names = await client.block_names()
        for number, scene in enumerate(SCENES, 1):
            path = samples() / scene.file
            graph = await client.import_graph(read_agent(path))
            out.print(f"\n[bold]{number}. {escape(graph.name)}[/] [dim]({shown(path)}): {escape(scene.shows)}[/]")
            credentials = choose_credentials(graph.credentials_input_schema)
            tally = Tally(graph, names)
            outcome = await watch(client, graph, tally, scene.inputs, credentials, progress=out)
            _check(outcome, graph.name)
            if scene is SCENES[-1]:
                _throughput(outcome)


def _check(outcome: Outcome, name: str) -> None:
    if outcome.run.status != "COMPLETED":
        raise DemoFailed(
            f"The agent {name!r} ended as {outcome.run.status}.",
            hint=f"The logs are in {get_settings().home}.",
        )


def _throughput(outcome: Outcome) -> None:
    stats = outcome.run.stats
    if stats is None or not stats.duration:
        return
    rate = stats.node_exec_count / stats.duration
    out.print(f"[bold]{rate:,.0f} node executions per second[/] on the worker, each of them recorded in Postgres.")


def samples() -> Path:
    """Inside the package when installed from a wheel, at the root of the repository when working on it."""
    installed = PACKAGE / "examples"
    folder = installed if installed.is_dir() else PACKAGE.parents[1] / "examples" / "agents"
    if not folder.is_dir():
        raise ConfigError(f"The sample agents are missing: there is no {folder}.")
    return folder


def shown(path: Path) -> str:
    """As one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _what_next() -> None:
    settings = get_settings()
    program = "agentplat" if shutil.which("agentplat") else shown(Path(sys.argv[0]).absolute())
    steps = {
        "Run an agent of your own": f"{program} run {shown(samples() / 'squares.json')} --input count=2000",
        "Start the platform and keep it running": f"{program} up",
        "Meanwhile, in another terminal, be somebody": f"TOKEN=$({program} token --email {EMAIL})",
        "See the runs of this demo": f'curl -H "Authorization: Bearer $TOKEN" http://{reachable_host(settings.host)}:{settings.port}/api/executions',
    }
    out.print("\n[bold]Nothing is left running. What to try next:[/]")
    for what, line in steps.items():
        out.print(f"  [dim]# {escape(what)}[/]\n  {escape(line)}")
    out.print("README.md has whole sessions with curl and with the WebSocket.")
