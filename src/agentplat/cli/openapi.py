"""`agentplat openapi`."""

import click
import msgspec


@click.command("openapi")
def command() -> None:
    """Print the OpenAPI document as JSON. Needs no database, no Redis and no configuration."""
    from agentplat.server.app import create_app
    from agentplat.server.openapi import document

    click.echo(msgspec.json.format(document(create_app()), indent=2))
