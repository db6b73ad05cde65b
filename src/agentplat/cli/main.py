"""The `agentplat` command. Each subcommand is a module with a `command`, imported only when it is asked for."""

from importlib import import_module
from importlib.metadata import version

import click

from agentplat.cli.console import fail
from agentplat.cli.lifeline import follow_supervisor
from agentplat.client import ClientError
from agentplat.infra.errors import AppError

# In the order of the help text, with the help itself: showing it must not import every module.
COMMANDS = {
    "up": "Start everything on this machine and keep it running.",
    "demo": "Run a sample agent end to end and show what happens.",
    "run": "Import one agent file and run it.",
    "watch": "Watch a run live, from its beginning or from any event.",
    "server": "Serve the API and the WebSocket.",
    "websocket": "Serve the WebSocket alone.",
    "worker": "Execute runs from the queue.",
    "scheduler": "Start runs at their scheduled times.",
    "migrate": "Bring the database schema up to date.",
    "retention": "Drop the journals of runs that are long over, and the like.",
    "token": "Print a token for development.",
    "user": "Make accounts, and administrators.",
    "secrets": "Replace the keys that stored secrets are sealed with.",
    "blocks": "List the blocks, or show one.",
    "openapi": "Print the OpenAPI document.",
    "fake-llm": "Serve a deterministic OpenAI-compatible model.",
    "doctor": "Check versions, connections, migrations, clock and disk.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"agentplat.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (AppError, ClientError) as error:
            fail(error)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("agentplat"), prog_name="agentplat")
def main() -> None:
    """A self-hostable backend for AI agents.

    Configured by environment variables: DATABASE_URL and REDIS_URL for servers of your own (embedded ones are used when
    they are not set), AGENTPLAT_HOME, AGENTPLAT_HOST, AGENTPLAT_PORT, JWT_VERIFY_KEY, OPENAI_API_KEY and others.
    """
    follow_supervisor()
